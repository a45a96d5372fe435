package io.github.attention4j;

import io.github.attention4j.internal.Descriptor;

/**
 * Keeps only some of a query's weights.
 *
 * @param code the library's constant
 * @param k the k of the rule, at least 1
 * @param name the option that chose it, for messages
 */
record Hardening(int code, int k, String name) {
  static Hardening topK(int k) {
    return new Hardening(Descriptor.HARDEN_TOP_K, k, "topK");
  }

  static Hardening hardAttention(int k) {
    return new Hardening(Descriptor.HARDEN_SUBTRACT, k, "hardAttention");
  }
}
