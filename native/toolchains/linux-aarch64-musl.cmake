# From any Linux to aarch64 with musl: gcc-aarch64-linux-gnu, and musl-dev of arm64 (Debian, Ubuntu: dpkg --add-architecture arm64).
# As musl-gcc does for x86-64, its file of specs replaces glibc by musl.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
# Outlined atomics ask glibc what the CPU has.
set(CMAKE_C_FLAGS_INIT "-specs=/usr/lib/aarch64-linux-musl/musl-gcc.specs -mno-outline-atomics")
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64")
set(A4J_HAS_OPENMP FALSE CACHE INTERNAL "libgomp for musl")
