/* lab.h - the commands behind `redline lab`: a row in cmd_lab.c and a file lab_<name>.c each. */
#ifndef LAB_H
#define LAB_H

int lab_list(int argc, char **argv);
int lab_run(int argc, char **argv);
int lab_report(int argc, char **argv);
int lab_gate(int argc, char **argv);
int lab_accept(int argc, char **argv);
int lab_import(int argc, char **argv);
int lab_worker(int argc, char **argv);
int lab_check(int argc, char **argv);
int lab_metrics(int argc, char **argv);

#endif
