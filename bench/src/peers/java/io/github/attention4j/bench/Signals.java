package io.github.attention4j.bench;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.invoke.MethodHandle;

/** Suspends a process and resumes it. */
final class Signals {
  private static final int CONTINUE = 18;
  private static final int STOP = 19;

  private static final MethodHandle KILL =
      Linker.nativeLinker()
          .downcallHandle(
              Linker.nativeLinker().defaultLookup().findOrThrow("kill"),
              FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_INT));

  private Signals() {}

  static void stop(long process) {
    send(process, STOP);
  }

  static void resume(long process) {
    send(process, CONTINUE);
  }

  private static void send(long process, int signal) {
    try {
      if ((int) KILL.invokeExact((int) process, signal) != 0) {
        throw new IllegalStateException("process " + process + " takes no signals");
      }
    } catch (RuntimeException e) {
      throw e;
    } catch (Throwable e) {
      throw new IllegalStateException(e);
    }
  }
}
