package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.KvPagePool;
import io.github.attention4j.models.decoder.Decoder;
import java.lang.foreign.Arena;

/**
 * Memory for the keys and values of many sessions, up to a limit for all of them together.
 *
 * <pre>{@code
 * SessionPool pool = model.newPool(arena, DType.BF16, 32_768);
 * try (CausalLm.Session session = model.newSession(arena, 4096, pool)) {
 *   session.prefill(prompt);
 * }
 * }</pre>
 *
 * <p>A session takes pages as its text grows, and returns them when it is cut or closed. Sessions
 * that are {@linkplain CausalLm.Session#fork forked} hold the pages of what they share once. A
 * session for which there is no page left fails with {@link IllegalStateException}, and is then as
 * it was before the call.
 *
 * <p>Sessions may take and return pages from any thread. The memory belongs to the arena that the
 * pool was made with.
 */
public final class SessionPool {
  /** The tokens of a page. A session takes whole pages. */
  public static final int PAGE_TOKENS = 64;

  private final CausalLm model;
  private final Decoder decoder;
  private final KvPagePool pages;

  SessionPool(CausalLm model, Decoder decoder, Arena arena, DType cache, int tokens) {
    this.model = model;
    this.decoder = decoder;
    long count = (long) Math.ceilDiv(tokens, PAGE_TOKENS) * model.layers();
    if (tokens < 1 || count > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "tokens must lie in [1, (2^31 - 1) * "
              + PAGE_TOKENS
              + " / layers]: tokens="
              + tokens
              + ", layers="
              + model.layers());
    }
    pages = decoder.newPool(arena, cache, PAGE_TOKENS, (int) count);
  }

  CausalLm model() {
    return model;
  }

  KvPagePool pages() {
    return pages;
  }

  /** The most pages that a text of some length takes. */
  long pagesOf(int length) {
    return decoder.pages(length, CausalLm.MOST_ROWS, PAGE_TOKENS);
  }

  /**
   * Returns how keys and values are stored.
   *
   * @return the type
   */
  public DType cache() {
    return pages.dtype();
  }

  /**
   * Returns the most tokens of all sessions together.
   *
   * @return the limit, in whole pages
   */
  public long tokens() {
    return (long) pages.pages() / model.layers() * PAGE_TOKENS;
  }

  /**
   * Returns how many tokens there is room for at this moment, if each session's last page is full.
   *
   * @return at most {@link #tokens}
   */
  public long freeTokens() {
    return (long) pages.freePages() / model.layers() * PAGE_TOKENS;
  }

  /**
   * Shows how much is in use.
   *
   * @return for people
   */
  @Override
  public String toString() {
    return "SessionPool[" + freeTokens() + " of " + tokens() + " tokens free, " + cache() + "]";
  }
}
