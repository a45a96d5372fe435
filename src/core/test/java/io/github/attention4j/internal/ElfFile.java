package io.github.attention4j.internal;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * What the dynamic linker reads of a 64-bit little-endian shared object: the architecture, the
 * libraries that it needs, and the versions of their symbols. Nothing of the machine that runs this
 * takes part, so that libraries for other platforms can be read too.
 *
 * @param machine the number of the architecture, {@link #X86_64} or {@link #AARCH64}
 * @param needed the names of the libraries that it needs
 * @param versions the versions that it needs of symbols of those, such as {@code GLIBC_2.17}
 * @see <a href="https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html">System V ABI</a>
 */
record ElfFile(int machine, List<String> needed, List<String> versions) {
  static final int X86_64 = 62;
  static final int AARCH64 = 183;

  private static final int MAGIC = 0x464C457F;
  private static final byte CLASS_64 = 2;
  private static final byte LITTLE_ENDIAN = 1;

  // Offsets in the file's header and in a program header.
  private static final int E_MACHINE = 18;
  private static final int E_PHOFF = 32;
  private static final int E_PHENTSIZE = 54;
  private static final int E_PHNUM = 56;
  private static final int P_OFFSET = 8;
  private static final int P_VADDR = 16;
  private static final int P_FILESZ = 32;
  private static final int PT_LOAD = 1;
  private static final int PT_DYNAMIC = 2;

  // Tags of the dynamic section, whose entries are a tag and a value of 8 bytes each.
  private static final int DT_NULL = 0;
  private static final int DT_NEEDED = 1;
  private static final int DT_STRTAB = 5;
  private static final long DT_VERNEED = 0x6FFFFFFEL;
  private static final long DT_VERNEEDNUM = 0x6FFFFFFFL;

  // Offsets in Elf64_Verneed and Elf64_Vernaux.
  private static final int VN_CNT = 2;
  private static final int VN_AUX = 8;
  private static final int VN_NEXT = 12;
  private static final int VNA_NAME = 8;
  private static final int VNA_NEXT = 12;

  static ElfFile read(byte[] bytes) {
    ByteBuffer file = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    if (file.getInt(0) != MAGIC || file.get(4) != CLASS_64 || file.get(5) != LITTLE_ENDIAN) {
      throw new IllegalArgumentException("not a 64-bit little-endian ELF file");
    }
    List<Long> names = new ArrayList<>();
    long strings = 0;
    long versions = 0;
    long versionCount = 0;
    int dynamic = header(file, PT_DYNAMIC, 0);
    for (int at = (int) file.getLong(dynamic + P_OFFSET); file.getLong(at) != DT_NULL; at += 16) {
      long tag = file.getLong(at);
      long value = file.getLong(at + 8);
      if (tag == DT_NEEDED) {
        names.add(value);
      } else if (tag == DT_STRTAB) {
        strings = value;
      } else if (tag == DT_VERNEED) {
        versions = value;
      } else if (tag == DT_VERNEEDNUM) {
        versionCount = value;
      }
    }
    int table = offset(file, strings);
    List<String> needed =
        names.stream().map(name -> string(bytes, table + name.intValue())).toList();
    List<String> needs = new ArrayList<>();
    int library = versionCount == 0 ? 0 : offset(file, versions);
    for (long i = 0; i < versionCount; i++) {
      int version = library + file.getInt(library + VN_AUX);
      for (int j = file.getShort(library + VN_CNT); j > 0; j--) {
        needs.add(string(bytes, table + file.getInt(version + VNA_NAME)));
        version += file.getInt(version + VNA_NEXT);
      }
      library += file.getInt(library + VN_NEXT);
    }
    return new ElfFile(Short.toUnsignedInt(file.getShort(E_MACHINE)), needed, needs);
  }

  /** Where the program header of a type is; of {@link #PT_LOAD}, the one that holds an address. */
  private static int header(ByteBuffer file, int type, long address) {
    int count = Short.toUnsignedInt(file.getShort(E_PHNUM));
    int size = Short.toUnsignedInt(file.getShort(E_PHENTSIZE));
    for (int i = 0; i < count; i++) {
      int header = (int) file.getLong(E_PHOFF) + i * size;
      long begin = file.getLong(header + P_VADDR);
      boolean holds = address >= begin && address < begin + file.getLong(header + P_FILESZ);
      if (file.getInt(header) == type && (type != PT_LOAD || holds)) {
        return header;
      }
    }
    throw new IllegalArgumentException("no program header of type " + type + " for " + address);
  }

  /** Where in the file an address is once it is loaded. */
  private static int offset(ByteBuffer file, long address) {
    int header = header(file, PT_LOAD, address);
    return (int) (address - file.getLong(header + P_VADDR) + file.getLong(header + P_OFFSET));
  }

  private static String string(byte[] bytes, int begin) {
    int end = begin;
    while (bytes[end] != 0) {
      end++;
    }
    return new String(bytes, begin, end - begin, StandardCharsets.US_ASCII);
  }
}
