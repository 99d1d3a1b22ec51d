/* machine.h - what measuring the limits and keeping their record share. */
#ifndef MACHINE_H
#define MACHINE_H

#include "redline_probe.h"

/* The version of the method: counts up when figures measured before can no longer be compared. */
enum { MACHINE_METHOD = 1 };

#endif
