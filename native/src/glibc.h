/*
 * Included before every source of liba4j.so on glibc (CMakeLists.txt), so it includes nothing: symbols that glibc has given a
 * newer version since 2.17 are taken in their old one, which every glibc still has and which computes the same. So a library
 * that is built on a new system runs on an old one. The build fails if the library needs a newer version of anything
 * (glibc_floor.cmake); the remedy is a line here.
 */
#if defined(__x86_64__)
#define A4J_GLIBC_BASE "GLIBC_2.2.5"
#define A4J_GLIBC_SETNAME "GLIBC_2.12"
#elif defined(__aarch64__)
#define A4J_GLIBC_BASE "GLIBC_2.17"
#define A4J_GLIBC_SETNAME "GLIBC_2.17"
#endif

#define A4J_OLD(symbol, version) __asm__(".symver " #symbol "," #symbol "@" version)

/* 2.27 and 2.29: without the wrapper that sets errno. */
A4J_OLD(expf, A4J_GLIBC_BASE);
A4J_OLD(logf, A4J_GLIBC_BASE);
A4J_OLD(log, A4J_GLIBC_BASE);

/* 2.32 and 2.34: moved from libpthread.so to libc.so. */
A4J_OLD(pthread_sigmask, A4J_GLIBC_BASE);
A4J_OLD(pthread_create, A4J_GLIBC_BASE);
A4J_OLD(pthread_join, A4J_GLIBC_BASE);
A4J_OLD(pthread_attr_setstacksize, A4J_GLIBC_BASE);
A4J_OLD(pthread_setname_np, A4J_GLIBC_SETNAME);
