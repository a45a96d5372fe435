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
 * <p>A session takes pages as its text grows, and returns them when it is cut or closed.
 * {@linkplain CausalLm.Session#fork Forked} sessions share the pages of their common beginning. If
 * no page is left, a session's call fails with {@link IllegalStateException} and leaves the session
 * unchanged.
 *
 * <p>Sessions may take and return pages from any thread. The memory belongs to the arena with which
 * the pool was created.
 */
public final class SessionPool {
  /** The tokens per page. A session takes whole pages. */
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

  /** The most pages that a text of this length needs. */
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
   * Returns how many more tokens there is room for now, not counting the sessions' last pages.
   *
   * @return at most {@link #tokens}
   */
  public long freeTokens() {
    return (long) pages.freePages() / model.layers() * PAGE_TOKENS;
  }

  /**
   * Shows how much is free.
   *
   * @return for people
   */
  @Override
  public String toString() {
    return "SessionPool[" + freeTokens() + " of " + tokens() + " tokens free, " + cache() + "]";
  }
}
