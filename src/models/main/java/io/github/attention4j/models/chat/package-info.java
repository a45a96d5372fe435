/** Everything that chat templates need in addition to Jinjava. Not exported. */
package io.github.attention4j.models.chat;
