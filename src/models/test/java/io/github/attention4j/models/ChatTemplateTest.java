package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.github.attention4j.internal.Json;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What Jinja2 gives for what templates use, and that they reach nothing else. */
class ChatTemplateTest {
  private static final List<Map<String, Object>> MESSAGES =
      List.of(
          Map.of("role", "system", "content", "Be brief."),
          Map.of("role", "user", "content", "  Hi there "));

  @ParameterizedTest
  @CsvSource(
      delimiter = '§',
      quoteCharacter = '`',
      value = {
        "{{ messages[1].content.strip() }}! § Hi there!",
        "{{ messages[1]['content'].lstrip() ~ '.' }} § Hi there .",
        "{{ messages[0].content.upper() }} § BE BRIEF.",
        "{{ messages[0].content.startswith('Be') }} § True",
        "{{ 'a</think>b</think>c'.split('</think>')[-1] }} § c",
        "{{ 'a,b,c'.split(',', 1) | join('+') }} § a+b,c",
        "{{ messages | length }} § 2",
        "{{ messages[-1].role }} § user",
        "{{ messages[1:] | length }} § 1",
        "{% for m in messages[::-1] %}{{ m.role }};{% endfor %} § user;system;",
        "{{ 'x' if messages[0].role == 'system' else 'y' }} § x",
        "{% if tools is defined %}t{% else %}n{% endif %} § n",
        "{% if tools is not defined or not tools %}n{% endif %} § n",
        "{% if messages[0].content is string %}s{% endif %} § s",
        "{% if messages is iterable and messages is not mapping %}l{% endif %} § l",
        "{% if messages[0] is mapping %}m{% endif %} § m",
        "{% if 'content' in messages[0] %}c{% endif %} § c",
        "{% if messages[0].tool_calls is none or not messages[0].tool_calls %}-{% endif %} § -",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
            + "{{ ns.n }} § 2",
        "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'user' %}"
            + "{% set ns.found = true %}{% endif %}{% endfor %}{% if ns.found %}y{% endif %} § y",
        "{%- macro f(x, y='d') %}[{{ x }}{{ y }}]{%- endmacro %}{{ f('a') }}{{ f('b', y='c') }}"
            + " § [ad][bc]",
        "{% set d = {'a': 1, 'b': 2} %}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}"
            + " § a=1;b=2;",
        "{{ messages[0].get('name', 'nobody') }} § nobody",
        "{{ loop_message | default('d') }} § d",
        "{% for m in messages %}{{ loop.index0 }}{{ loop.first }}{{ loop.last }};{% endfor %}"
            + " § 0TrueFalse;1FalseTrue;",
        "{{ 7 // 2 }} {{ 7 % 2 }} {{ 2 * 3 + 1 }} § 3 1 7",
        "{{ not true or true }} § True",
        "{{ {'a': 1, 'b': [1, 2.5, none, true], 'c': 'x<y>é\"'} | tojson }}"
            + " § {\"a\": 1, \"b\": [1, 2.5, null, true], \"c\": \"x<y>é\\\"\"}",
        "{{ '%s and %s' | format('a', 'b') }} § a and b",
        "{{ 'a' + 'b' * 2 if false else 'c' }} § c",
        "{{ ['a', 'b'] | last }}{{ ['a', 'b'] | first }} § ba",
        "{{ ('a' ~ 1) | trim }} § a1",
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} § 1",
        "{{ messages | map(attribute='role') | join(',') }} § system,user",
        "{{ bos_token + 'x' + eos_token }} § <s>x</s>",
        "{% set x %}in{% endset %}{{ x }} § in",
        "{{ {'a': {'b': {'c': 1}}}}} § {'a': {'b': {'c': 1}}}",
        "{{{'a': 1}}} § {'a': 1}",
        "{% set d = {'a': {'b': 2}} %}{{ d.a.b }}{{- d['a']}} § 2{'b': 2}",
        "{{ '}}' ~ {'}}': {'x': '%}'}}['}}']['x'] }} § }}%}",
        "{% raw %}{{ no code }}{% if %}{% endraw %}! § {{ no code }}{% if %}!",
        "{{ true }} {{ false }} {{ 'x' ~ true }} {{ true | string }} § True False xTrue True",
        "{{ [true, none, 1, 2.0, 'a'] }} {{ 0.5 }} {{ 1e-7 }} § [True, None, 1, 2.0, 'a'] 0.5"
            + " 1e-07",
        "{{ {'a': [true], \"it's\": false} }} § {'a': [True], \"it's\": False}",
        "{% if true ~ '' == 'True' %}y{% endif %} § y",
        "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role }}{{ loop.last }}"
            + "{% endfor %} § 1userTrue",
        "{%- for k, v in {'a': 1, 'b': 2, 'c': 3}.items() if v != 2 -%} {{ k }}{{ v }}{{"
            + " loop.length }}; {%- endfor -%} § a12;c32;",
        "{% for a in [1, 2] %}{% for b in [1, 2, 3][::-1] if b > a %}{{ a }}{{ b }};{% endfor %}"
            + "{% endfor %} § 13;12;23;",
        "{% for x in (['a'] if messages else ['b']) %}{{ x }}{% endfor %} § a",
        "{% for x in ['if', 'else'] if x != ' else ' %}{{ x }}{% endfor %} § ifelse",
        "{{ nothing }}-{{ messages[0].name }}-{{ messages[9] }} § --",
        "{{ nothing | default('d') }}{{ messages[0].name | default('e') }} § de",
        "{% if nothing %}x{% elif messages[0].name %}y{% else %}z{% endif %} § z",
        "{% if nothing is defined and nothing.x %}x{% elif not (nothing and nothing.x) %}z"
            + "{% endif %} § z",
        "{{ nothing.x if nothing else 'e' }}{% for x in nothing %}{{ x.y }}{% endfor %} § e",
        "{% set n = none %}{{ n.x }}{{ {'a': none}.a.b }}{{ [none][0].b }}! § !",
        "{% set d = {'a': {'b': [1, {'c': 2}]}} %}{{ d.a.b[1].c }}{{ (d['a']).b[-1]['c'] }} § 22",
        "{{ range(3) | list }}{{ range(1, 3) | list }}{{ range(5, 0, -2) | list }} §"
            + " [0, 1, 2][1, 2][5, 3, 1]",
        "{% for i in range(2) %}{{ messages[i].role }};{% endfor %} § system;user;",
        "{{ \"it's\" | replace(\"'\", '`') }}  § it`s",
      })
  void shouldWriteWhatJinjaWrites(String template, String wanted) {
    assertEquals(wanted, ChatTemplate.of(template, "<s>", "</s>").render(MESSAGES, true, Map.of()));
  }

  /** Jinja 3.1's texts and errors, with the settings of Transformers. */
  @TestFactory
  Stream<DynamicTest> shouldWriteWhatJinjaWrote() throws Exception {
    byte[] cases;
    try (InputStream stream = ChatTemplateTest.class.getResourceAsStream("/jinja.json")) {
      cases = stream.readAllBytes();
    }
    Map<String, Object> message = new LinkedHashMap<>();
    message.put("role", "user");
    message.put("content", "Hi");
    message.put("none", null);
    message.put("id", "abcdefghi");
    message.put("d", Map.of("a", 1));
    return ((List<?>) Json.parse(cases))
        .stream()
            .map(each -> (Map<?, ?>) each)
            .map(
                each ->
                    dynamicTest(
                        (String) each.get("template"), () -> assertWrites(each, List.of(message))));
  }

  private static void assertWrites(Map<?, ?> wanted, List<Map<String, Object>> messages) {
    String template = (String) wanted.get("template");
    Executable render =
        () ->
            assertEquals(
                wanted.get("text"),
                ChatTemplate.of(template, "<s>", "</s>")
                    .render(messages, true, Map.of("n", 3, "x", true)));
    if (wanted.containsKey("error")) {
      assertThrows(ChatTemplateException.class, render);
    } else {
      assertDoesNotThrow(render);
    }
  }

  @Test
  void shouldDropBlocksAndTheirLines() {
    String template =
        "{{ bos_token }}\n{% for m in messages %}\n  {% if m.role == 'user' %}\n"
            + "U: {{ m.content | trim }}\n  {% endif %}\n{% endfor %}\nend\n";
    assertEquals(
        "<s>\nU: Hi there\nend",
        ChatTemplate.of(template, "<s>", "").render(MESSAGES, true, Map.of()));
  }

  @Test
  void shouldWriteToolsAndCallsAsTheTemplateSays() {
    String template =
        "{%- if tools %}{{- 'Tools:' }}{%- for tool in tools %}{{- '\\n"
            + "' }}{{- tool | tojson }}{%- endfor %}{{- '\\n"
            + "' }}{%- endif %}{%- for message in messages %}{%- if message.tool_calls %}{%- for"
            + " tool_call in message.tool_calls %}{%- if tool_call.function is defined %}{%- set"
            + " tool_call = tool_call.function %}{%- endif %}{{- '<tool_call>\\n"
            + "{\"name\": \"' }}{{- tool_call.name }}{{- '\", \"arguments\": ' }}{{-"
            + " tool_call.arguments | tojson }}{{- '}\\n"
            + "</tool_call>' }}{%- endfor %}{%- endif %}{%- endfor %}";
    Map<String, Object> call =
        Map.of("function", Map.of("name", "add", "arguments", Map.of("a", 2)));
    assertEquals(
        "Tools:\n{\"type\": \"function\"}\n<tool_call>\n{\"name\": \"add\", \"arguments\":"
            + " {\"a\": 2}}\n</tool_call>",
        ChatTemplate.of(template, "", "")
            .render(
                List.of(Map.of("role", "assistant", "content", "", "tool_calls", List.of(call))),
                false,
                Map.of("tools", List.of(Map.of("type", "function")))));
  }

  @Test
  void shouldIndentJsonAsPythonDoes() {
    assertEquals(
        "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": []\n}",
        ChatTemplate.of("{{ {'a': [1, 2], 'b': []} | tojson(indent=4) }}", "", "")
            .render(MESSAGES, false, Map.of()));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{{ ''.getClass() }}",
        "{{ ''.class.forName('java.lang.Runtime') }}",
        "{{ messages.getClass().getName() }}",
        "{{ messages[0].content.getBytes() }}",
        "{{ 1.getClass() }}",
        "{{ (1).toString() }}",
        "{{ loop.getClass() }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{{ ''.isEmpty() }}",
      })
  void shouldReachNothingOfJava(String template) {
    String text;
    try {
      text = ChatTemplate.of(template, "", "").render(MESSAGES, true, Map.of());
      // What is not there is empty.
      assertEquals("", text);
    } catch (ChatTemplateException e) {
      text = e.getMessage();
    }
    assertFalse(text.contains("java.lang"), text);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
            + "{% set x = a %}{% endfor %}{% endfor %}{% endfor %}",
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% for a in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
        "{{ messages[0].content.center(1000000000) }}",
        "{% for",
        "{{ messages[",
        "{% endif %}",
        "{{ 'a' | nosuchfilter }}",
        "{{ nosuchfunction('a') }}",
        "{% if 'a' is nosuchtest %}{% endif %}",
        "{% nosuchtag %}",
        "{% for m in messages recursive %}{% endfor %}",
        "{{ (1] }}",
        "{{ 1) }}",
      })
  void shouldRefuseWhatLoopsOverflowsOrIsNoJinja(String template) {
    assertTrue(refusal(template).length() < 2000);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '§',
      value = {
        "{{ foo.bar.baz }} § foo",
        "{{ foo['bar'] }} § foo",
        "{{ foo.strip() }} § foo",
        "{{ (foo).bar }} § foo",
        "{{ foo.bar | default('x') }} § foo",
        "{% if foo.bar is defined %}{% endif %} § foo",
        "{% for x in foo.bar %}{% endfor %} § foo",
        "{% set x = messages[0].name.first %} § messages[0].name",
        "{{ messages[0].name.strip() }} § messages[0].name",
        "{{ messages[9].role }} § messages[9]",
        "{{ messages[0].content.x.y }} § messages[0].content.x",
        "{% macro f(m) %}{{ m.x.y }}{% endmacro %}{{ f(messages[0]) }} § m.x",
        "{{ foo[1:] }} § foo",
        "{{ foo + 1 }} § foo",
        "{% set y = foo %}{{ y * 2 }} § foo",
        "{{ (1 if false) + 1 }} § the inline if without else",
        "{{ 'a' + foo }} § foo",
        "{{ [1] + foo }} § foo",
        "{{ 1 - messages[0].name }} § messages[0].name",
        "{{ 2 * (messages[0]['name']) }} § messages[0]['name']",
        "{{ foo / 2 }} § foo",
        "{{ foo // 2 }} § foo",
        "{{ 2 ** foo }} § foo",
        "{{ foo % 2 }} § foo",
        "{{ -foo }} § foo",
        "{{ foo < 1 }} § foo",
        "{{ 1 <= foo }} § foo",
        "{% if messages[0].name > 1 %}{% endif %} § messages[0].name",
        "{% for i in [1] if foo >= i %}{% endfor %} § foo",
      })
  void shouldRefuseToAskOfWhatIsNotThere(String template, String undefined) {
    assertEquals(
        "chat template asks for what is not there: " + undefined + " is undefined",
        refusal(template));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '§',
      value = {
        "{{ none + 1 }} § operator + cannot combine NoneType and int",
        "{{ 1 < none }} § values of the types int and NoneType have no order",
        "{{ 'a' + 1 }} § operator + cannot combine str and int",
        "{{ [1] + (1, 2) }} § operator + cannot combine list and tuple",
      })
  void shouldRefuseToComputeWithOtherTypes(String template, String what) {
    assertEquals("chat template has a wrong type of value: " + what, refusal(template));
  }

  /** The results of Jinja 3.1. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '§',
      value = {
        "{{ foo == 1 }} § False",
        "{{ foo != 1 }} § True",
        "{{ foo == bar }} § True",
        "{{ foo ~ 'a' }} § a",
        "{{ 1 in foo }} § False",
        "{% if foo %}a{% else %}b{% endif %} § b",
        "{{ foo | default('x') }} § x",
        "{{ (foo or 2) + 1 }} § 3",
        "{{ foo is defined }} § False",
        "[{{ foo }}] § []",
        "{{ foo | length }} § 0",
        "{{ none in messages[0] }} § False",
        "[{{ messages[0][none] }}] § []",
        "{{ messages[0].get(none) }} § None",
        "{{ '%s' % none }} § None",
        "{{ 'a b  c d'.split(maxsplit=1) }} § ['a', 'b  c d']",
        "{{ ' a b  c '.rsplit(maxsplit=1) }} § [' a b', 'c']",
        "{{ ' a b  c '.split(None, 0) }} § ['a b  c ']",
        "{{ 'aXbXc'.split(sep='X') }} § ['a', 'b', 'c']",
        "{{ 'aXXbXXXc'.rsplit('XX', 1) }} § ['aXXbX', 'c']",
        "{{ 'aaa'.rsplit('aa') }} § ['a', '']",
        "{{ ''.split('X') }}{{ ''.split() }} § [''][]",
        "{{ (1, 2) * 2 }} § (1, 2, 1, 2)",
        "{{ [[1, [2, 3]]][0].1.0 }} § 2",
        "{{ dict([('a', 1)], b=2) }} § {'a': 1, 'b': 2}",
        "{{ namespace([('a', 1)]).a }} § 1",
        "{{ 'a\\'b' ~ \"c\\\\\" }} § a'bc\\",
      })
  void shouldTestAndWriteWhatIsNotThere(String template, String expected) {
    assertEquals(
        expected, ChatTemplate.of(template, "", "").render(MESSAGES, true, Map.of()), template);
  }

  @Test
  void shouldRefuseARangeOrAnIndentThatIsTooLong() {
    assertEquals(
        "chat template asks for too long a range: range=1000000000, limit=100000",
        refusal("{% for i in range(1000000000) %}{{ i }}{% endfor %}"));
    assertEquals(
        "range must have 1 to 3 arguments and a step other than 0",
        refusal("{{ range(1, 2, 0) }}"));
    assertEquals(
        "tojson must be given an indent of at most 100: indent=2147483647",
        refusal("{{ messages | tojson(indent=2147483647) }}"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
            + "{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
            + "{% endfor %}",
        "{{ 'x' * 9999999999 }}",
        "{{ 'ab' * 9223372036854775807 }}",
        "{{ 'abcd' * 4611686018427387904 }}",
        "{{ [1, 2] * 9223372036854775807 }}",
        "{% set x = 'a' * 1000000 %}{{ x.replace('', x) }}",
        "{% set x = 'a' * 1000000 %}{{ x.replace('a', 'bb', 900000) }}",
        "{% set x = 'a' * 1000000 %}{{ x.join([x, x]) }}",
        "{% set x = 'a' * 1000000 %}{{ [x, x] | join }}",
        "{% set x = 'a' * 1000000 %}{{ ('{0}' * 9999).format(x) }}",
        "{% set x = 'a' * 1000000 %}{{ '%s%s' % (x, x) }}",
        "{% set x = 'a\\n' * 500000 %}{{ x | indent(1000) }}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
            + "{{ n.x | tojson }}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
            + "{{ n.x }}",
        "{{ [1] * 9999999999 }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ 10 ** 100 }}",
        "{{ messages.append(1) }}",
      })
  void shouldRefuseValuesThatAreTooLarge(String template) {
    assertTrue(refusal(template).length() < 300);
  }

  /** Both lists hold 60 others, but comparing them visits 2^60. */
  @Test
  void shouldStopAnExpressionThatTakesTooLong() {
    assertEquals(
        "chat template takes too long: limit=2000 ms",
        refusal(
            "{% set n = namespace(x=1, y=1) %}{% for i in range(60) %}"
                + "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}"
                + "{{ n.x == n.y }}"));
  }

  @Test
  void shouldStopATemplateThatMakesTooManyValues() {
    assertEquals(
        "chat template makes too many values: characters=135008000, limit=134217728",
        refusal("{% set x = 'x' * 1000000 %}{{ ([x] * 1000) | map('upper') | list | length }}"));
    assertEquals(
        "chat template makes too many values: characters=134400000, limit=134217728",
        refusal(
            "{% set x = [1] * 100000 %}{% for i in range(1000) %}{% set y = x[:] %}{% endfor %}"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{{ {[1]: 2} }}",
        "{{ {([1], 2): 2} }}",
        "{{ dict([([1], 2)]) }}",
        "{{ [1] in {'a': 1} }}",
        "{{ {'a': 1}[[1]] }}",
        "{{ {'a': 1}.get([1]) }}",
        "{{ [[1], [1]] | unique | list }}",
      })
  void shouldRefuseListsAsKeys(String template) {
    assertEquals(
        "chat template has a wrong type of value: list cannot be a key", refusal(template));
  }

  @Test
  void shouldReadLongStrings() {
    String text = "a line\n".repeat(20_000);
    assertEquals(text, written("{{ '" + text.replace("\n", "\\n") + "' }}"));
    assertEquals(text, written("{% raw %}" + text + "{% endraw %}"));
  }

  private static String written(String template) {
    return ChatTemplate.of(template, "", "").render(MESSAGES, true, Map.of());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '§',
      quoteCharacter = '`',
      value = {
        "{{ '7'.zfill() }} § '7'.zfill misses its argument width",
        "{{ ','.join() }} § ','.join misses its argument iterable",
        "{{ [1].index() }} § [1].index misses its argument value",
        "{{ 'abab'.find('b', 2) }} § 'abab'.find takes at most 1 arguments: it is given 2",
        "{{ 'a'.splitlines(keepends=true) }} § 'a'.splitlines has no argument keepends",
        "{{ dict(1, 2) }} § dict takes at most 1 arguments: it is given 2",
        "{{ dict([(1, 2, 3)]) }} § dict must be given pairs: one has 3 elements",
        "{{ a.99999999999999999999 }} § chat template has an expression that is not valid:"
            + " a.99999999999999999999 at 99999999999999999999",
      })
  void shouldRefuseArgumentsThatCallsDoNotTake(String template, String message) {
    assertEquals(message, refusal(template));
  }

  @Test
  void shouldSayWhatTheTemplateRaises() {
    assertEquals("50% off", refusal("{{ raise_exception('50% off') }}"));
    assertEquals("no system role", refusal("{{ raise_exception('no ' ~ 'system role') }}"));
  }

  private static String refusal(String template) {
    return assertThrows(
            ChatTemplateException.class,
            () -> ChatTemplate.of(template, "", "").render(MESSAGES, true, Map.of()))
        .getMessage();
  }
}
