/** The command line of the runnable jar; see {@link io.github.attention4j.models.cli.Main}. */
package io.github.attention4j.models.cli;
