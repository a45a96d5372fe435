/** One file for each family of models: settings to specification. Not exported. */
package io.github.attention4j.models.decoder.families;
