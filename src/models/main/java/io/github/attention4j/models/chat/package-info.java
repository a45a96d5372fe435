/** What chat templates find beside Jinja itself. Not exported. */
package io.github.attention4j.models.chat;
