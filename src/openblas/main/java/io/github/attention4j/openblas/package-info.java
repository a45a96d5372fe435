/** The OpenBLAS that this jar carries; see {@code META-INF/licenses/README.txt}. */
package io.github.attention4j.openblas;
