package io.github.attention4j.models.server;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.Scheduler;
import io.github.attention4j.models.chat.JsonValues;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.ChatMessage;
import io.github.attention4j.models.text.TextGenerator;
import io.github.attention4j.models.text.Tool;
import io.github.attention4j.models.text.ToolCall;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;

/** The computation behind each path of an {@link OpenAiServer}, from parsed parameters to JSON. */
final class Endpoints {
  /** How long after its time limit a computation may notice it. */
  private static final Duration SLACK = Duration.ofSeconds(10);

  // OpenAI's ranges; for repetition_penalty, which it does not have, those of common use.
  private static final double MOST_PENALTY = 2;
  private static final double MOST_BIAS = 100;
  private static final double LEAST_REPETITION = 0.1;
  private static final double MOST_REPETITION = 10;

  private static final int MOST_STOPS = 16;
  private static final int MOST_TEXTS = 2048;

  private final OpenAiServer.Builder options;
  private final Scheduler scheduler;
  private final TextGenerator generator;
  private final Chat chat;
  private final Metrics metrics;
  private final Workers texts;
  private final Workers embeddings;
  private final BooleanSupplier closing;
  private final long started = Instant.now().getEpochSecond();

  /**
   * @param scheduler of the language model; null if there is none
   * @param closing true once all work is to end
   */
  Endpoints(
      OpenAiServer.Builder options,
      Scheduler scheduler,
      Metrics metrics,
      Workers texts,
      Workers embeddings,
      BooleanSupplier closing) {
    this.options = options;
    this.scheduler = scheduler;
    generator = options.generator == null ? null : options.generator.shared(scheduler);
    chat = options.chat == null ? null : options.chat.shared(scheduler);
    this.metrics = metrics;
    this.texts = texts;
    this.embeddings = embeddings;
    this.closing = closing;
  }

  JsonObject models() {
    JsonArray data = new JsonArray();
    names().forEach(name -> data.add(model(name)));
    JsonObject body = new JsonObject();
    body.addProperty("object", "list");
    body.add("data", data);
    return body;
  }

  private List<String> names() {
    List<String> names = new ArrayList<>();
    if (generator != null) {
      names.add(options.chatName);
    }
    if (options.embeddings != null) {
      names.add(options.embeddingsName);
    }
    return names;
  }

  JsonObject model(String name) {
    if (!names().contains(name)) {
      throw new HttpError(
          404, "invalid_request_error", "model", "model_not_found", "there is no model " + name);
    }
    JsonObject model = new JsonObject();
    model.addProperty("id", name);
    model.addProperty("object", "model");
    model.addProperty("created", started);
    model.addProperty("owned_by", "attention4j");
    return model;
  }

  void post(String path, Parameters body, OpenAiServer.Answer answer) throws IOException {
    Pending pending = new Pending(options.maxTime, closing);
    body.ignore(
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key");
    switch (path) {
      case "/v1/chat/completions" -> complete(chat(body, pending), answer);
      case "/v1/completions" -> complete(completion(body, pending), answer);
      default -> embed(body, pending, answer);
    }
  }

  // ---- Parameters ----

  /** The options of a completion, and the form of its result. */
  private record Job(
      boolean chat,
      String model,
      int[] prompt,
      List<Tool> tools,
      TextGenerator.Builder request,
      boolean stream,
      boolean usage,
      Logprobs logprobs,
      Pending pending) {}

  /** The chat, with the variables of its template that a request gives. */
  private Chat withVariables(Parameters body) {
    JsonElement variables = body.any("chat_template_kwargs");
    if (variables == null) {
      return chat;
    }
    if (!(variables instanceof JsonObject object)) {
      throw body.wrong("chat_template_kwargs", "an object", variables);
    }
    try {
      return chat.templateVariables(JsonValues.of(object));
    } catch (IllegalArgumentException | IllegalStateException e) {
      throw HttpError.invalid("chat_template_kwargs", e.getMessage());
    }
  }

  private Job chat(Parameters body, Pending pending) {
    checkModel(body, chat == null ? null : options.chatName, "chats");
    List<Parameters> given = body.objects("messages");
    if (given == null || given.isEmpty()) {
      throw body.missing("messages");
    }
    List<ChatMessage> messages = given.stream().map(Endpoints::message).toList();
    List<Tool> tools = tools(body);
    body.neutral("n", 1);
    Long likeliest = body.integer("top_logprobs");
    boolean logprobs = Boolean.TRUE.equals(body.bool("logprobs"));
    if (likeliest != null && likeliest > 0 && !logprobs) {
      throw HttpError.invalid(
          "top_logprobs", "top_logprobs needs logprobs=true: top_logprobs=" + likeliest);
    }
    body.neutral("parallel_tool_calls", true);
    if (body.any("modalities") != null && !body.strings("modalities").equals(List.of("text"))) {
      throw body.wrong("modalities", "[\"text\"]", body.any("modalities"));
    }
    Long most = body.integer("max_completion_tokens");
    if (most == null) {
      most = body.integer("max_tokens");
    } else {
      body.neutral("max_tokens", most);
    }
    int[] prompt;
    try {
      prompt = withVariables(body).prompt(messages, tools);
    } catch (IllegalArgumentException e) {
      throw HttpError.invalid("messages", e.getMessage());
    }
    return job(
        body,
        true,
        prompt,
        tools,
        most,
        logprobs ? logprobs(true, "top_logprobs", likeliest == null ? 0 : likeliest, 20) : null,
        pending);
  }

  private Job completion(Parameters body, Pending pending) {
    checkModel(body, generator == null ? null : options.chatName, "completions");
    body.neutral("n", 1);
    body.neutral("best_of", 1);
    body.neutral("echo", false);
    body.neutral("suffix", "");
    JsonElement given = body.any("prompt");
    if (given == null) {
      throw body.missing("prompt");
    }
    int[] prompt = prompt(body, given);
    Long most = body.integer("max_tokens");
    Long likeliest = body.integer("logprobs");
    return job(
        body,
        false,
        prompt,
        List.of(),
        most,
        likeliest == null ? null : logprobs(false, "logprobs", likeliest, 5),
        pending);
  }

  private Logprobs logprobs(boolean chat, String field, long likeliest, int most) {
    if (likeliest < 0 || likeliest > most) {
      throw HttpError.invalid(
          field, "%s must lie in [0, %d]: %1$s=%d".formatted(field, most, likeliest));
    }
    return new Logprobs(chat, (int) likeliest, generator.tokenizer(), generator.model().ends());
  }

  private int[] prompt(Parameters body, JsonElement given) {
    JsonElement prompt = given instanceof JsonArray one && one.size() == 1 ? one.get(0) : given;
    if (prompt instanceof JsonPrimitive text && text.isString()) {
      return generator.tokenizer().encode(text.getAsString()).tokens();
    }
    JsonElement listed = prompt instanceof JsonArray ? prompt : given;
    if (!(listed instanceof JsonArray array) || array.isEmpty()) {
      throw body.wrong("prompt", "one text, or one array of tokens", given);
    }
    int vocabulary = generator.model().vocabulary();
    int[] tokens = new int[array.size()];
    for (int i = 0; i < tokens.length; i++) {
      if (!(array.get(i) instanceof JsonPrimitive number && number.isNumber())) {
        throw body.wrong("prompt", "one text, or one array of tokens", given);
      }
      double token = number.getAsDouble();
      if (!(token >= 0 && token < vocabulary && token == Math.rint(token))) {
        throw HttpError.invalid(
            "prompt",
            "a token must lie in [0, vocabulary): prompt[%d]=%s, vocabulary=%d"
                .formatted(i, number, vocabulary));
      }
      tokens[i] = (int) token;
    }
    return tokens;
  }

  private Job job(
      Parameters body,
      boolean chat,
      int[] prompt,
      List<Tool> tools,
      Long most,
      Logprobs logprobs,
      Pending pending) {
    TextGenerator.Builder request = TextGenerator.request();
    request.maxTokens(maxTokens(body, chat, most, prompt.length)).sampler(sampler(body));
    if (logprobs != null) {
      request.logProbabilities(logprobs.likeliest()).onToken(logprobs::add);
    }
    List<String> stops = body.strings("stop");
    if (stops.contains("") || stops.size() > MOST_STOPS) {
      throw HttpError.invalid(
          "stop",
          "stop must have at most %d texts, none of them empty: stop.size=%d"
              .formatted(MOST_STOPS, stops.size()));
    }
    request.stop(generator.model().stopTexts()).stop(stops);
    Parameters format = body.object("response_format");
    if (format != null) {
      String type = format.string("type");
      if ("json_object".equals(type)) {
        if (!tools.isEmpty()) {
          throw HttpError.invalid(
              "response_format", "response_format json_object and tools cannot be combined");
        }
        request.json();
      } else if (!"text".equals(type)) {
        throw new HttpError(
            400,
            "invalid_request_error",
            "response_format.type",
            "unsupported_value",
            "response_format.type must be text or json_object: response_format.type=" + type);
      }
      format.refuseOthers();
    }
    boolean stream = Boolean.TRUE.equals(body.bool("stream"));
    Parameters streaming = body.object("stream_options");
    boolean usage = false;
    if (streaming != null) {
      usage = Boolean.TRUE.equals(streaming.bool("include_usage"));
      streaming.refuseOthers();
    }
    body.refuseOthers();
    return new Job(
        chat, options.chatName, prompt, tools, request, stream, usage, logprobs, pending);
  }

  private int maxTokens(Parameters body, boolean chat, Long asked, int prompt) {
    String newer = "max_completion_tokens";
    String field = chat && body.any(newer) != null ? newer : "max_tokens";
    int context = generator.model().context();
    if (prompt == 0 || prompt >= context) {
      throw new HttpError(
          400,
          "invalid_request_error",
          chat ? "messages" : "prompt",
          "context_length_exceeded",
          "the prompt must have at least 1 token and fewer than the context: prompt=%d, context=%d"
              .formatted(prompt, context));
    }
    if (asked == null || asked == -1) {
      requireMemory(field, prompt, 1);
      int most = Math.min(options.maxTokens, context - prompt);
      if (asked == null) {
        CausalLm model = generator.model();
        most = Math.min(most, Math.min(model.maxNewTokens(), model.maxLength() - prompt));
      }
      while (!scheduler.fits(prompt + most)) {
        most -= Math.ceilDiv(most, 16);
      }
      return Math.max(1, most);
    }
    if (asked < 1 || asked > options.maxTokens) {
      throw HttpError.invalid(
          field,
          "%s must lie in [1, %d], the limit of this server, or be -1 for that limit: %1$s=%d"
              .formatted(field, options.maxTokens, asked));
    }
    if (prompt + asked > context) {
      throw new HttpError(
          400,
          "invalid_request_error",
          field,
          "context_length_exceeded",
          "the prompt and %s must fit the context: prompt=%d, %1$s=%d, context=%d"
              .formatted(field, prompt, asked, context));
    }
    requireMemory(field, prompt, (int) (long) asked);
    return (int) (long) asked;
  }

  private void requireMemory(String field, int prompt, int tokens) {
    if (!scheduler.fits(prompt + tokens)) {
      throw new HttpError(
          400,
          "invalid_request_error",
          field,
          "context_length_exceeded",
          "the prompt and %s must fit the memory of this server: prompt=%d, %1$s=%d, tokens=%d"
              .formatted(field, prompt, tokens, scheduler.tokens()));
    }
  }

  /** That of the model's files; if they draw no tokens, at OpenAI's temperature of 1. */
  private Sampler sampler(Parameters body) {
    Long seed = body.integer("seed");
    Sampler own = generator.model().defaultSampler();
    Sampler.Builder sampler =
        own.toBuilder().seed(seed == null ? ThreadLocalRandom.current().nextLong() : seed);
    if (own.isGreedy()) {
      sampler.temperature(1);
    }
    Double temperature = body.number("temperature");
    if (temperature != null) {
      if (temperature < 0) {
        throw body.wrong("temperature", "at least 0", temperature);
      }
      sampler.temperature(temperature);
    }
    Double topP = body.number("top_p");
    if (topP != null) {
      if (!(topP > 0 && topP <= 1)) {
        throw body.wrong("top_p", "in (0, 1]", topP);
      }
      sampler.topP(topP);
    }
    Long topK = body.integer("top_k");
    if (topK != null && topK < -1) {
      throw body.wrong("top_k", "at least -1, which like 0 means all", topK);
    }
    if (topK != null) {
      sampler.topK(topK > 0 ? (int) Math.min(topK, Integer.MAX_VALUE) : Integer.MAX_VALUE);
    }
    Double minP = body.number("min_p");
    if (minP != null) {
      if (!(minP >= 0 && minP < 1)) {
        throw body.wrong("min_p", "in [0, 1)", minP);
      }
      sampler.minP(minP);
    }
    Double presence = body.number("presence_penalty", -MOST_PENALTY, MOST_PENALTY);
    if (presence != null) {
      sampler.presencePenalty(presence);
    }
    Double frequency = body.number("frequency_penalty", -MOST_PENALTY, MOST_PENALTY);
    if (frequency != null) {
      sampler.frequencyPenalty(frequency);
    }
    Double repetition = body.number("repetition_penalty", LEAST_REPETITION, MOST_REPETITION);
    if (repetition != null) {
      sampler.repetitionPenalty(repetition);
    }
    biases(body, sampler);
    return sampler.build();
  }

  private void biases(Parameters body, Sampler.Builder sampler) {
    Parameters biases = body.object("logit_bias");
    if (biases == null) {
      return;
    }
    int vocabulary = generator.model().vocabulary();
    for (String token : biases.names()) {
      Double bias = biases.number(token, -MOST_BIAS, MOST_BIAS);
      if (!token.matches("\\d{1,9}") || Integer.parseInt(token) >= vocabulary) {
        throw HttpError.invalid(
            "logit_bias",
            "a token must lie in [0, vocabulary): logit_bias.%s, vocabulary=%d"
                .formatted(token, vocabulary));
      }
      if (bias != null) {
        sampler.logitBias(Integer.parseInt(token), bias);
      }
    }
  }

  private static void checkModel(Parameters body, String name, String what) {
    String asked = body.string("model");
    if (name == null) {
      throw new HttpError(
          404, "invalid_request_error", "model", "model_not_found", "no model here does " + what);
    }
    if (asked != null && !asked.equals(name)) {
      throw new HttpError(
          404,
          "invalid_request_error",
          "model",
          "model_not_found",
          "the model for %s is %s: model=%s".formatted(what, name, asked));
    }
  }

  private static ChatMessage message(Parameters given) {
    String role = given.string("role");
    if (role == null) {
      throw given.missing("role");
    }
    JsonElement content = given.any("content");
    List<ToolCall> calls = new ArrayList<>();
    List<Parameters> givenCalls = given.objects("tool_calls");
    if (givenCalls != null) {
      for (Parameters call : givenCalls) {
        calls.add(call(call));
      }
    }
    String text = content(given, content, calls.isEmpty());
    String id = given.string("tool_call_id");
    String name = given.string("name");
    // Answers of OpenAI's models have these, and clients send them back.
    given.ignore("annotations");
    given.neutral("refusal", "");
    given.refuseOthers();
    // OpenAI's newer name of the same role.
    return new ChatMessage(role.equals("developer") ? "system" : role, text, calls, id, name);
  }

  private static String content(Parameters message, JsonElement content, boolean needed) {
    if (content instanceof JsonPrimitive text && text.isString()) {
      return text.getAsString();
    }
    if (content == null && !needed) {
      return "";
    }
    if (!(content instanceof JsonArray)) {
      throw message.missing("content");
    }
    StringBuilder text = new StringBuilder();
    for (Parameters part : message.objects("content")) {
      part.neutral("type", "text");
      String piece = part.string("text");
      if (piece == null) {
        throw part.missing("text");
      }
      part.refuseOthers();
      text.append(piece);
    }
    return text.toString();
  }

  private static ToolCall call(Parameters call) {
    call.neutral("type", "function");
    // Streamed calls have it.
    call.ignore("index");
    String id = call.string("id");
    Parameters function = call.object("function");
    if (id == null || function == null) {
      throw call.missing(id == null ? "id" : "function");
    }
    String name = function.string("name");
    String arguments = function.string("arguments");
    if (name == null || arguments == null) {
      throw function.missing(name == null ? "name" : "arguments");
    }
    function.refuseOthers();
    call.refuseOthers();
    return new ToolCall(id, name, arguments);
  }

  private static List<Tool> tools(Parameters body) {
    List<Parameters> given = body.objects("tools");
    JsonElement choice = body.any("tool_choice");
    String chosen = choice == null ? "auto" : choice.isJsonPrimitive() ? choice.getAsString() : "";
    if (!chosen.equals("auto") && !chosen.equals("none")) {
      throw body.wrong("tool_choice", "auto or none", choice);
    }
    List<Tool> tools = new ArrayList<>();
    for (Parameters tool : given == null ? List.<Parameters>of() : given) {
      tool.neutral("type", "function");
      Parameters function = tool.object("function");
      if (function == null) {
        throw tool.missing("function");
      }
      String name = function.string("name");
      if (name == null) {
        throw function.missing("name");
      }
      String description = function.string("description");
      JsonElement parameters = function.any("parameters");
      if (parameters != null && !parameters.isJsonObject()) {
        throw function.wrong("parameters", "a JSON Schema", parameters);
      }
      function.neutral("strict", false);
      function.refuseOthers();
      tool.refuseOthers();
      tools.add(
          new Tool(
              name,
              description == null ? "" : description,
              parameters == null
                  ? "{\"type\":\"object\",\"properties\":{}}"
                  : parameters.toString()));
    }
    return chosen.equals("none") ? List.of() : tools;
  }

  // ---- Completions ----

  private Chat.Reply generate(Job job, Consumer<String> onText) {
    Pending pending = job.pending;
    Duration left = pending.left();
    if (!left.isPositive()) {
      throw pending.tooLate("the request was not begun");
    }
    TextGenerator.Request request =
        job.request.time(left).cancelled(pending::isUnwanted).onStart(pending::begin).build();
    Chat.Reply reply;
    if (job.chat) {
      reply = chat.reply(job.prompt, job.tools, request, onText);
    } else {
      TextGenerator.Result result = generator.generate(job.prompt, request, onText);
      reply = new Chat.Reply(result.text(), List.of(), result);
    }
    TextGenerator.Result result = reply.generated();
    metrics.generated(result);
    if (result.finish() == TextGenerator.Finish.CANCELLED && closing.getAsBoolean()) {
      throw HttpError.shuttingDown();
    }
    if (result.finish() == TextGenerator.Finish.TIME && result.newTokens() == 0) {
      throw pending.tooLate(
          pending.hasBegun() ? "the prompt could not be read" : "the request was not begun");
    }
    return reply;
  }

  private void complete(Job job, OpenAiServer.Answer answer) throws IOException {
    if (job.stream) {
      stream(job, answer);
      return;
    }
    Chat.Reply reply = await(texts, () -> generate(job, text -> {}), job.pending, answer);
    JsonObject choice = new JsonObject();
    choice.addProperty("index", 0);
    if (job.chat) {
      JsonObject message = new JsonObject();
      message.addProperty("role", "assistant");
      boolean silent = reply.text().isEmpty() && !reply.toolCalls().isEmpty();
      message.add("content", silent ? JsonNull.INSTANCE : new JsonPrimitive(reply.text()));
      if (!reply.toolCalls().isEmpty()) {
        message.add("tool_calls", json(reply.toolCalls(), false));
      }
      choice.add("message", message);
    } else {
      choice.addProperty("text", reply.text());
    }
    choice.add("logprobs", Logprobs.take(job.logprobs));
    choice.addProperty("finish_reason", finish(reply));
    JsonObject body = envelope(job, id(job), job.chat ? "chat.completion" : "text_completion");
    body.add("choices", array(choice));
    body.add("usage", usage(reply.generated()));
    answer.json(body);
  }

  /** A message from the generating thread to the writing one. */
  private sealed interface Event {
    record Text(String text, JsonElement logprobs) implements Event {}

    record Done(Chat.Reply reply) implements Event {}

    record Failed(Throwable cause) implements Event {}
  }

  private void stream(Job job, OpenAiServer.Answer answer) throws IOException {
    // Bounded by the limit of tokens, so a client that does not read blocks nobody.
    BlockingQueue<Event> events = new LinkedBlockingQueue<>();
    Future<?> work =
        texts.submit(
            () -> {
              try {
                events.add(
                    new Event.Done(
                        generate(
                            job,
                            text ->
                                events.add(new Event.Text(text, Logprobs.take(job.logprobs))))));
              } catch (RuntimeException | Error e) {
                events.add(new Event.Failed(e));
                if (e instanceof Error error && !(e instanceof OutOfMemoryError)) {
                  throw error;
                }
              }
              return null;
            });
    try {
      write(job, work, events, answer);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw HttpError.shuttingDown();
    } finally {
      job.pending.abandon();
      texts.forget(work);
    }
  }

  private void write(
      Job job, Future<?> work, BlockingQueue<Event> events, OpenAiServer.Answer answer)
      throws IOException, InterruptedException {
    String id = id(job);
    answer.begin();
    if (job.chat) {
      JsonObject delta = new JsonObject();
      delta.addProperty("role", "assistant");
      delta.addProperty("content", "");
      answer.event(chunk(job, id, delta, JsonNull.INSTANCE, null).toString());
    }
    while (true) {
      switch (events.poll(options.probe.toMillis(), TimeUnit.MILLISECONDS)) {
        case null -> {
          if (work.isCancelled()) {
            throw HttpError.shuttingDown();
          }
          requireTime(job.pending);
          answer.probe();
        }
        case Event.Text piece -> {
          JsonObject delta = new JsonObject();
          delta.addProperty(job.chat ? "content" : "text", piece.text());
          answer.event(chunk(job, id, delta, piece.logprobs(), null).toString());
        }
        case Event.Failed failed -> throw failure(failed.cause());
        case Event.Done done -> {
          finish(job, id, done.reply(), answer);
          return;
        }
      }
    }
  }

  private void finish(Job job, String id, Chat.Reply reply, OpenAiServer.Answer answer)
      throws IOException {
    JsonObject delta = new JsonObject();
    if (!reply.toolCalls().isEmpty()) {
      delta.add("tool_calls", json(reply.toolCalls(), true));
    }
    if (!job.chat) {
      delta.addProperty("text", "");
    }
    answer.event(chunk(job, id, delta, Logprobs.take(job.logprobs), finish(reply)).toString());
    if (job.usage) {
      JsonObject last = envelope(job, id, job.chat ? "chat.completion.chunk" : "text_completion");
      last.add("choices", new JsonArray());
      last.add("usage", usage(reply.generated()));
      answer.event(last.toString());
    }
    answer.event("[DONE]");
  }

  private JsonObject chunk(
      Job job, String id, JsonObject delta, JsonElement logprobs, String finish) {
    JsonObject choice = job.chat ? new JsonObject() : delta;
    choice.addProperty("index", 0);
    if (job.chat) {
      choice.add("delta", delta);
    }
    choice.add("logprobs", logprobs);
    choice.add("finish_reason", finish == null ? JsonNull.INSTANCE : new JsonPrimitive(finish));
    JsonObject body = envelope(job, id, job.chat ? "chat.completion.chunk" : "text_completion");
    body.add("choices", array(choice));
    if (job.usage) {
      // The last chunk alone has it.
      body.add("usage", JsonNull.INSTANCE);
    }
    return body;
  }

  private static String id(Job job) {
    return (job.chat ? "chatcmpl-" : "cmpl-") + UUID.randomUUID().toString().replace("-", "");
  }

  private static JsonObject envelope(Job job, String id, String object) {
    JsonObject body = new JsonObject();
    body.addProperty("id", id);
    body.addProperty("object", object);
    body.addProperty("created", Instant.now().getEpochSecond());
    body.addProperty("model", job.model);
    return body;
  }

  private static JsonObject usage(TextGenerator.Result result) {
    JsonObject usage = new JsonObject();
    usage.addProperty("prompt_tokens", result.promptTokens());
    usage.addProperty("completion_tokens", result.newTokens());
    usage.addProperty("total_tokens", result.promptTokens() + result.newTokens());
    return usage;
  }

  private static String finish(Chat.Reply reply) {
    if (!reply.toolCalls().isEmpty()) {
      return "tool_calls";
    }
    return switch (reply.generated().finish()) {
      case END, STOP_TEXT -> "stop";
      case LENGTH, TIME, CANCELLED -> "length";
    };
  }

  private static JsonArray json(List<ToolCall> calls, boolean indexed) {
    JsonArray array = new JsonArray();
    for (ToolCall call : calls) {
      JsonObject function = new JsonObject();
      function.addProperty("name", call.name());
      function.addProperty("arguments", call.arguments());
      JsonObject json = new JsonObject();
      if (indexed) {
        json.addProperty("index", array.size());
      }
      json.addProperty("id", call.id());
      json.addProperty("type", "function");
      json.add("function", function);
      array.add(json);
    }
    return array;
  }

  private static JsonArray array(JsonElement only) {
    JsonArray array = new JsonArray();
    array.add(only);
    return array;
  }

  // ---- Embeddings ----

  private void embed(Parameters body, Pending pending, OpenAiServer.Answer answer)
      throws IOException {
    checkModel(body, options.embeddings == null ? null : options.embeddingsName, "embeddings");
    List<int[]> tokens = tokens(body);
    List<String> given = tokens.isEmpty() ? body.strings("input") : List.of();
    int count = tokens.size() + given.size();
    if (count == 0 || count > MOST_TEXTS) {
      throw HttpError.invalid(
          "input", "input must have 1 to %d texts: input.size=%d".formatted(MOST_TEXTS, count));
    }
    Long dimensions = body.integer("dimensions");
    if (dimensions != null && (dimensions < 1 || dimensions > Integer.MAX_VALUE)) {
      throw body.wrong("dimensions", "at least 1", dimensions);
    }
    String format = body.string("encoding_format");
    if (format != null && !format.equals("float") && !format.equals("base64")) {
      throw HttpError.invalid(
          "encoding_format", "encoding_format must be float or base64: encoding_format=" + format);
    }
    body.refuseOthers();
    EmbeddingSource.Request request =
        new EmbeddingSource.Request(
            given,
            tokens,
            dimensions == null ? 0 : (int) (long) dimensions,
            () -> pending.isUnwanted() || !pending.left().isPositive());
    EmbeddingSource.Embeddings result =
        await(embeddings, () -> vectors(request, pending), pending, answer);
    metrics.embedded(result.tokens());
    answer.json(embeddings(result, "base64".equals(format)));
  }

  /** The input as a list of tokens or as several; empty if it is text. */
  private static List<int[]> tokens(Parameters body) {
    if (!(body.any("input") instanceof JsonArray list) || list.isEmpty()) {
      return List.of();
    }
    if (list.get(0) instanceof JsonPrimitive first && first.isNumber()) {
      return List.of(tokens(body, list));
    }
    if (!(list.get(0) instanceof JsonArray)) {
      return List.of();
    }
    List<int[]> texts = new ArrayList<>();
    for (JsonElement text : list) {
      if (!(text instanceof JsonArray array)) {
        throw body.wrong("input", "texts, or arrays of tokens", text);
      }
      texts.add(tokens(body, array));
    }
    return texts;
  }

  private static int[] tokens(Parameters body, JsonArray text) {
    int[] tokens = new int[text.size()];
    for (int i = 0; i < tokens.length; i++) {
      double token =
          text.get(i) instanceof JsonPrimitive number && number.isNumber()
              ? number.getAsDouble()
              : Double.NaN;
      if (!(token >= 0 && token <= Integer.MAX_VALUE && token == Math.rint(token))) {
        throw body.wrong("input", "texts, or arrays of tokens", text.get(i));
      }
      tokens[i] = (int) token;
    }
    return tokens;
  }

  private EmbeddingSource.Embeddings vectors(EmbeddingSource.Request request, Pending pending) {
    if (!pending.left().isPositive()) {
      throw pending.tooLate("the request was not begun");
    }
    pending.begin();
    try {
      return options.embeddings.embed(request);
    } catch (IllegalArgumentException e) {
      throw HttpError.invalid("input", e.getMessage());
    } catch (CancellationException e) {
      throw pending.tooLate("the texts could not be embedded");
    }
  }

  private JsonObject embeddings(EmbeddingSource.Embeddings result, boolean base64) {
    JsonArray data = new JsonArray();
    for (float[] vector : result.vectors()) {
      JsonObject item = new JsonObject();
      item.addProperty("object", "embedding");
      item.addProperty("index", data.size());
      item.add("embedding", base64 ? base64(vector) : numbers(vector));
      data.add(item);
    }
    JsonObject usage = new JsonObject();
    usage.addProperty("prompt_tokens", result.tokens());
    usage.addProperty("total_tokens", result.tokens());
    JsonObject body = new JsonObject();
    body.addProperty("object", "list");
    body.add("data", data);
    body.addProperty("model", options.embeddingsName);
    body.add("usage", usage);
    return body;
  }

  private static JsonPrimitive base64(float[] vector) {
    ByteBuffer bytes =
        ByteBuffer.allocate(vector.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(vector);
    return new JsonPrimitive(Base64.getEncoder().encodeToString(bytes.array()));
  }

  private static JsonArray numbers(float[] vector) {
    JsonArray numbers = new JsonArray(vector.length);
    for (float number : vector) {
      numbers.add(number);
    }
    return numbers;
  }

  // ---- Waiting ----

  /**
   * Computes in another thread. While the client waits, it is probed, but only once the computation
   * has begun: until then, a failure still has its own status.
   */
  private <T> T await(
      Workers workers, Callable<T> computation, Pending pending, OpenAiServer.Answer answer)
      throws IOException {
    Future<T> work = workers.submit(computation);
    try {
      while (true) {
        try {
          return work.get(options.probe.toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
          requireTime(pending);
          if (pending.hasBegun() && pending.age().compareTo(options.quiet) > 0) {
            answer.probe();
          }
        }
      }
    } catch (ExecutionException e) {
      throw failure(e.getCause());
    } catch (CancellationException e) {
      throw HttpError.shuttingDown();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw HttpError.shuttingDown();
    } finally {
      pending.abandon();
      workers.forget(work);
    }
  }

  private void requireTime(Pending pending) {
    if (closing.getAsBoolean()) {
      throw HttpError.shuttingDown();
    }
    if (!pending.hasBegun() && pending.left().isNegative()) {
      throw pending.tooLate("the request was not begun");
    }
    // Work that has begun ends by itself soon after its time limit.
    if (pending.left().plus(SLACK).isNegative()) {
      throw pending.tooLate("the request was not finished");
    }
  }

  private static RuntimeException failure(Throwable cause) {
    if (cause instanceof OutOfMemoryError) {
      return HttpError.busy("there is no memory for the request: " + cause.getMessage());
    }
    if (cause instanceof Error error) {
      throw error;
    }
    return cause instanceof RuntimeException e ? e : new IllegalStateException(cause);
  }
}
