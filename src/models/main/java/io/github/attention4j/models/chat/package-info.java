/**
 * Jinja's expressions, tags and white space for Jinjava, as chat templates need them. Not exported.
 */
package io.github.attention4j.models.chat;
