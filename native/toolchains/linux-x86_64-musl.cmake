# On x86-64 Linux with musl-tools: its compiler is a wrapper of the system's gcc, whose OpenMP belongs to glibc.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER musl-gcc)
set(A4J_HAS_OPENMP FALSE CACHE INTERNAL "libgomp for musl")
