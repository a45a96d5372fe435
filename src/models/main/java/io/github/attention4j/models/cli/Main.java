package io.github.attention4j.models.cli;

import io.github.attention4j.A4j;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * The command line: {@code java -jar attention4j-models-VERSION-all.jar COMMAND …}.
 *
 * <p>Results go to the standard output, everything else to the standard error. The exit status is 0
 * on success, 1 if a command failed, 2 if the command line is wrong, and 130 after Ctrl-C.
 */
public final class Main {
  private static final Set<String> FLAGS =
      Set.of("--refuse-truncation", "--json", "--truncate", "--help");

  private final Console console;

  Main(Console console) {
    this.console = console;
  }

  /**
   * Runs a command.
   *
   * @param arguments the command, followed by its words and options
   */
  public static void main(String[] arguments) {
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    boolean interactive = System.console() != null && System.console().isTerminal();
    boolean rewrites = interactive || isTerminal(Path.of("/proc/self/fd/2"));
    int status;
    try {
      String[] words = OwnWords.of(arguments, Path.of("/proc/self/cmdline"));
      status = new Main(new Console(System.in, out, System.err, interactive, rewrites)).run(words);
    } catch (UsageException e) {
      System.err.println(e.getMessage());
      status = 2;
    }
    out.flush();
    System.exit(status);
  }

  /** Whether an open file of Linux is a terminal. */
  static boolean isTerminal(Path descriptor) {
    try {
      String target = Files.readSymbolicLink(descriptor).toString();
      return target.matches("/dev/(pts/.*|tty.*|console)");
    } catch (IOException | UnsupportedOperationException e) {
      return false;
    }
  }

  /** Runs a command and returns the exit status. */
  int run(String... arguments) {
    if (arguments.length == 0) {
      console.err().print(Usage.all());
      return 2;
    }
    Usage usage = Usage.of(arguments[0]);
    try {
      int status = usage == null ? help(arguments) : run(usage, arguments);
      console.out().flush();
      if (console.out().checkError()) {
        console.err().println("the output could not be written");
        return 1;
      }
      return status;
    } catch (UsageException e) {
      console.err().println(e.getMessage());
      console
          .err()
          .println((usage == null ? "" : usage.command() + " ") + "--help shows what can be given");
      return 2;
    } catch (InvalidPathException e) {
      console.err().println(e.getMessage() + " (set LC_ALL=C.UTF-8 for names that are not ASCII)");
      return 1;
    } catch (IOException
        | UncheckedIOException
        | IllegalArgumentException
        | IllegalStateException
        | OutOfMemoryError e) {
      console.err().println(message(e));
      return 1;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return 1;
    }
  }

  /** What is no command of its own. */
  private int help(String... arguments) {
    switch (arguments[0]) {
      case "--version", "version" -> console.out().println("attention4j " + A4j.version());
      case "help", "--help", "-h" -> {
        Usage usage = arguments.length == 1 ? null : Usage.of(arguments[1]);
        if (arguments.length > 1 && usage == null) {
          throw new UsageException("there is no command " + arguments[1]);
        }
        console.out().print(usage == null ? Usage.all() : usage.text());
      }
      default ->
          throw new UsageException(
              arguments[0].startsWith("-")
                  ? "there is no option " + arguments[0]
                  : "there is no command " + arguments[0]);
    }
    return 0;
  }

  private int run(Usage usage, String... arguments) throws IOException, InterruptedException {
    List<String> rest = Arrays.asList(arguments).subList(1, arguments.length);
    Arguments words = new Arguments(usage.command(), rest, usage.options(), FLAGS);
    if (words.flag("--help")) {
      console.out().print(usage.text());
      return 0;
    }
    Integer threads = words.integer("--threads");
    if (threads != null) {
      A4j.threads(threads);
    }
    int status = 0;
    switch (usage) {
      case INFO -> new Info(console).run(words);
      case EMBED -> new Embed(console).run(words);
      case RERANK -> new Rerank(console).run(words);
      case GENERATE -> status = new Writing(console).generate(words);
      case CHAT -> new Writing(console).chat(words);
      case SERVE -> new Serve(console).run(words);
    }
    return status;
  }

  /** The sentence that a user sees. */
  static String message(Throwable e) {
    Throwable shown = e instanceof UncheckedIOException ? e.getCause() : e;
    String message = String.valueOf(shown.getMessage());
    return switch (shown) {
      case NoSuchFileException missing -> missing.getFile() + " does not exist";
      case AccessDeniedException denied -> denied.getFile() + " may not be opened";
      case IOException bare when !message.contains(" ") ->
          bare.getClass().getSimpleName() + ": " + message;
      default -> message;
    };
  }
}
