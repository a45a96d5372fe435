package io.github.attention4j.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.URL;
import java.net.URLConnection;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Unpacks the native libraries of a jar into a directory where later processes find them.
 *
 * <p>The directory is named after the hash of the whole content, so versions do not interfere. A
 * file is written under a temporary name, checked against its hash, and renamed. Every process sees
 * it complete or not at all, and processes that start at the same time write the same content.
 *
 * <p>An existing file is used if it has the hash that the jar's index states. Hashing 40 MB takes
 * about 80 ms in a new JVM, so verified files are marked with a fixed modification time, which any
 * later write changes.
 *
 * <p>A directory is only used if it belongs to this user or to root, and nobody except its owner
 * and its group can write to it.
 */
final class NativeCache {
  static final String INDEX = "index.txt";

  /** The prefix of the copies for further class loaders. */
  private static final String COPY = "attention4j-copy-";

  private static final String UNFINISHED = ".tmp";

  /** The names of files that are only there for a moment, unless their process is killed. */
  private static final Pattern MOMENTARY =
      Pattern.compile(
          COPY + "\\d+\\.so|.+\\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\" + UNFINISHED);

  private static final FileTime VERIFIED = FileTime.from(Instant.parse("2001-02-03T04:05:06Z"));

  private static final Duration ABANDONED = Duration.ofHours(1);

  private static final Set<PosixFilePermission> OWNER_ONLY =
      PosixFilePermissions.fromString("rwx------");

  private static final Integer ROOT = 0;
  private static final int OTHERS_WRITE = 0_002;
  private static final int STICKY = 01_000;

  /**
   * The directory that only this process uses, because others have taken the usual one; null if it
   * is not needed. {@link NativeLibrary} calls under its lock.
   */
  private static Path ownDirectory;

  /** A line of the index. */
  private record Entry(String hash, long size, String name) {}

  private NativeCache() {}

  /**
   * The directories to try, best first.
   *
   * @param impossible is told the names that cannot be directories here, and why: the encoding of
   *     the locale may have no such characters
   */
  static List<Path> directories(BiConsumer<String, Exception> impossible) {
    List<Path> directories = new ArrayList<>();
    String named = NativeLibrary.property("a4j.cache");
    if (named != null) {
      Path directory = path("-Da4j.cache=" + named, named, impossible);
      return directory == null ? List.of() : List.of(directory.toAbsolutePath());
    }
    String cache = System.getenv("XDG_CACHE_HOME");
    Path below = path("XDG_CACHE_HOME=" + cache, cache, impossible);
    if (below != null && below.isAbsolute()) {
      directories.add(below.resolve("attention4j"));
    } else {
      String name = System.getProperty("user.home");
      Path home = path("user.home=" + name, name, impossible);
      if (home != null && home.isAbsolute()) { // "?" for a user without an entry in passwd
        directories.add(home.resolve(".cache", "attention4j"));
      }
    }
    addTemporary(directories, impossible);
    return directories;
  }

  /** The directories to try for a copy that is deleted at once, best first. */
  static List<Path> directoriesForCopies() {
    List<Path> directories = new ArrayList<>(directories((name, failure) -> {}));
    addTemporary(directories, (name, failure) -> {});
    return directories.stream().distinct().toList();
  }

  /**
   * Named after the user's id: users of a container may have no name, which Java shows as "?".
   * Other users know that name, and may have taken it; then a name that nobody can guess is next.
   */
  private static void addTemporary(List<Path> to, BiConsumer<String, Exception> impossible) {
    Object user;
    try {
      user = self();
    } catch (IOException noProc) {
      user = System.getProperty("user.name"); // without /proc, every directory is refused anyway
    }
    String name = System.getProperty("java.io.tmpdir");
    if (name == null) {
      impossible.accept("java.io.tmpdir", new IOException("the property is not set"));
      return;
    }
    Path directory = path("java.io.tmpdir=" + name, name, impossible);
    if (directory != null) {
      Path usual = directory.toAbsolutePath().resolve("attention4j-" + user);
      if (Files.isSymbolicLink(usual)) { // which could be redirected after it was checked
        impossible.accept(usual.toString(), new IOException("it is a symbolic link"));
      } else {
        to.add(usual);
      }
      if (isTaken(usual)) {
        if (ownDirectory == null) {
          ownDirectory = usual.resolveSibling("attention4j-" + UUID.randomUUID());
        }
        to.add(ownDirectory);
      }
    }
  }

  /** Whether there is something other than a safe directory of this user. */
  private static boolean isTaken(Path directory) {
    if (!Files.exists(directory, LinkOption.NOFOLLOW_LINKS)) {
      return false;
    }
    try {
      requireSafe(directory);
      return !Files.isDirectory(directory, LinkOption.NOFOLLOW_LINKS)
          || !Files.getAttribute(directory, "unix:uid").equals(self());
    } catch (IOException unsafe) {
      return true;
    }
  }

  /**
   * Deletes the directory that only this process uses, if there is one. Libraries that were loaded
   * from it stay loaded. Nothing depends on it, so what cannot be deleted is left.
   */
  static void deleteOwnDirectory() {
    if (ownDirectory == null) {
      return;
    }
    try (Stream<Path> files = Files.walk(ownDirectory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException | UncheckedIOException unimportant) {
      return;
    }
  }

  /** Null if there is no name, or it cannot be a path. */
  private static Path path(String what, String name, BiConsumer<String, Exception> impossible) {
    try {
      return name == null ? null : Path.of(name);
    } catch (InvalidPathException failure) {
      impossible.accept(what, failure);
      return null;
    }
  }

  /**
   * Makes sure that every file of a bundle is in the cache below a directory, complete.
   *
   * @param bundle finds the bundle's files by their names
   * @return the directory of the files, below {@code directory}
   * @throws IOException if a file is missing or damaged and cannot be written
   */
  static Path unpack(Function<String, URL> bundle, Path directory) throws IOException {
    List<String> lines = lines(bundle);
    Path target = directory.resolve(lines.getFirst());
    List<Entry> missing = new ArrayList<>();
    for (String line : lines.subList(1, lines.size())) {
      String[] words = line.split(" ", 3);
      Entry entry = new Entry(words[0], Long.parseLong(words[1]), words[2]);
      if (!isWhole(target.resolve(entry.name()), entry)) {
        missing.add(entry);
      }
    }
    if (!missing.isEmpty()) {
      // The permissions apply to directories that are created, not to existing ones.
      Files.createDirectories(target, PosixFilePermissions.asFileAttribute(OWNER_ONLY));
    }
    requireSafe(directory);
    requireSafe(target);
    deleteAbandoned(target);
    for (Entry entry : missing) {
      write(bundle, entry, target);
    }
    return target;
  }

  /** The names of a bundle's files; each needs only those before it. */
  static List<String> names(Function<String, URL> bundle) throws IOException {
    List<String> lines = lines(bundle);
    return lines.subList(1, lines.size()).stream().map(line -> line.split(" ", 3)[2]).toList();
  }

  private static List<String> lines(Function<String, URL> bundle) throws IOException {
    try (InputStream index = open(bundle, INDEX)) {
      return new String(index.readAllBytes(), StandardCharsets.US_ASCII).lines().toList();
    }
  }

  /**
   * Copies a library into a directory under a unique name. The caller deletes it.
   *
   * @throws IOException if the directory is not safe or cannot be written
   */
  static Path copy(Path library, Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      Files.createDirectories(directory, PosixFilePermissions.asFileAttribute(OWNER_ONLY));
    }
    requireSafe(directory);
    deleteAbandoned(directory);
    Path copy = Files.createTempFile(directory, COPY, ".so"); // for the owner only
    try {
      Files.write(copy, Files.readAllBytes(library));
      return copy;
    } catch (IOException | RuntimeException | Error failure) {
      Files.deleteIfExists(copy);
      throw failure;
    }
  }

  private static boolean isWhole(Path file, Entry entry) throws IOException {
    return Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)
        && Files.size(file) == entry.size()
        && (Files.getLastModifiedTime(file).equals(VERIFIED) || hash(file).equals(entry.hash()));
  }

  private static void write(Function<String, URL> bundle, Entry entry, Path target)
      throws IOException {
    Path unfinished = target.resolve(entry.name() + "." + UUID.randomUUID() + UNFINISHED);
    MessageDigest digest = sha256();
    try {
      try (InputStream from = open(bundle, entry.name());
          FileChannel file =
              FileChannel.open(
                  unfinished,
                  Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE),
                  PosixFilePermissions.asFileAttribute(OWNER_ONLY));
          OutputStream to = new DigestOutputStream(Channels.newOutputStream(file), digest)) {
        from.transferTo(to);
        file.force(true);
      }
      String hash = HexFormat.of().formatHex(digest.digest());
      if (!hash.equals(entry.hash())) {
        throw new IOException(
            "the jar is damaged: SHA-256 of "
                + bundle.apply(entry.name())
                + " must be "
                + entry.hash()
                + ", got "
                + hash);
      }
      Files.move(unfinished, target.resolve(entry.name()), StandardCopyOption.ATOMIC_MOVE);
      Files.setLastModifiedTime(target.resolve(entry.name()), VERIFIED);
    } finally {
      Files.deleteIfExists(unfinished);
    }
  }

  /**
   * Removes what processes left behind that were killed while they wrote. Nothing depends on it, so
   * directories that cannot be listed and files that cannot be deleted are ignored.
   */
  private static void deleteAbandoned(Path directory) {
    Instant limit = Instant.now().minus(ABANDONED);
    DirectoryStream.Filter<Path> leftOver =
        file ->
            MOMENTARY.matcher(file.getFileName().toString()).matches()
                && Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS);
    try (DirectoryStream<Path> files = Files.newDirectoryStream(directory, leftOver)) {
      for (Path file : files) {
        if (Files.getLastModifiedTime(file).toInstant().isBefore(limit)) {
          Files.deleteIfExists(file);
        }
      }
    } catch (IOException | java.nio.file.DirectoryIteratorException unimportant) {
      return;
    }
  }

  /** Refuses a directory in which another user could replace a verified file. */
  private static void requireSafe(Path directory) throws IOException {
    Object owner = Files.getAttribute(directory, "unix:uid");
    Object self = self();
    if (!owner.equals(self) && !owner.equals(ROOT)) {
      throw new IOException(
          directory + " must belong to this user or to root: owner=" + owner + ", user=" + self);
    }
    int mode = (int) Files.getAttribute(directory, "unix:mode");
    if ((mode & OTHERS_WRITE) != 0 && (mode & STICKY) == 0) {
      throw new IOException(directory + " must not be writable by other users");
    }
  }

  /** The number of this process's user. */
  private static Object self() throws IOException {
    return Files.getAttribute(Path.of("/proc/self"), "unix:uid");
  }

  private static InputStream open(Function<String, URL> bundle, String name) throws IOException {
    URL url = bundle.apply(name);
    if (url == null) {
      throw new IOException("the jar has no " + name + " for " + NativeLibrary.platform());
    }
    URLConnection connection = url.openConnection();
    connection.setUseCaches(false); // the JVM would keep the jar open
    return connection.getInputStream();
  }

  private static String hash(Path file) throws IOException {
    MessageDigest digest = sha256();
    try (InputStream from = Files.newInputStream(file)) {
      byte[] buffer = new byte[1 << 16];
      for (int n; (n = from.read(buffer)) > 0; ) {
        digest.update(buffer, 0, n);
      }
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException("every Java platform has SHA-256", impossible);
    }
  }
}
