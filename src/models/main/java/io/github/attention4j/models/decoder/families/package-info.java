/** One class per family of models, from settings to specification. Not exported. */
package io.github.attention4j.models.decoder.families;
