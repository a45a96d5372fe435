/**
 * The demonstration: two small trained language models generate text with the library and with a
 * plain Java implementation of the same layers, which is the baseline and the tests' reference.
 *
 * <p>Nothing here is part of the library's jar. {@link io.github.attention4j.demo.Demo} is the
 * entry point; {@link io.github.attention4j.demo.PlainCausalLm} is the page to read for what the
 * models compute.
 */
package io.github.attention4j.demo;
