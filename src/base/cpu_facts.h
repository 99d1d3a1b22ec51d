/* cpu_facts.h - the readers behind cpu.h, below any root folder, so that tests can make up a machine. */
#ifndef CPU_FACTS_H
#define CPU_FACTS_H

#include "cpu.h"

double cpu_quota_at(const char *root);                         /* 0: no limit */
double cpu_throttled_at(const char *root);                     /* share of the quota's periods in which it ran
                                                                  out, since the group was made; -1: no quota */
bool cpu_has_huge_pages_at(const char *root);
void cpu_memory_at(const char *root, struct cpu_memory *out);

#endif
