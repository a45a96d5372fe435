/* What this CPU and its operating system can run, by the name of the kernel tier. */
#ifndef A4J_CPU_H
#define A4J_CPU_H

/* 1 if code of the tier runs here: the CPU has the instructions and the operating system saves their registers. */
int a4j_cpu_runs(const char *tier);

#endif
