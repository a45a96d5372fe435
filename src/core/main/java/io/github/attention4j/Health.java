package io.github.attention4j;

/**
 * What a service watches: how calls went since the native library was loaded, and what they hold.
 * {@link A4j#describe()} says the same for people, and which kernels run.
 *
 * @param calls operations that were begun, of all threads
 * @param sharedCalls those that were computed by more than one thread
 * @param busyCalls those that would have been, found the team busy with another call and were
 *     computed by their own thread. If there are many while processors are idle, fewer and larger
 *     calls would be faster.
 * @param waitingCalls threads that wait now, because of {@link A4j#concurrentCalls(int)}
 * @param teamThreads how many threads the team has so far, a caller's own included; 0 before its
 *     first use
 * @param teamFailure why it has no more, or null
 * @param workspaceBytes native memory that operations and layers keep for the next calls, at most
 *     256 MB for each core and usually a few. It counts as direct memory of the JVM ({@code
 *     -XX:MaxDirectMemorySize}); tensors belong to the caller's arenas and do not.
 */
public record Health(
    long calls,
    long sharedCalls,
    long busyCalls,
    int waitingCalls,
    int teamThreads,
    String teamFailure,
    long workspaceBytes) {}
