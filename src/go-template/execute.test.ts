import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import { compileTemplate, markMaps, Row } from "./execute.ts";

const run = (source: string, data: unknown = {}) => compileTemplate(source).execute(data);

describe("templates do what Go's text/template documents", () => {
  test.each([
    // text, trimming, comments
    ["a{{23 -}} < {{- 45}}b", null, "a23<45b"],
    ["x{{/* nothing */}}y", null, "xy"],
    ["x {{- /* nothing */ -}} y", null, "xy"],
    // the examples of the package's documentation
    [`{{"\\"output\\""}}`, null, `"output"`],
    ['{{`"output"`}}', null, `"output"`],
    [`{{printf "%q" "output"}}`, null, `"output"`],
    [`{{"output" | printf "%q"}}`, null, `"output"`],
    [`{{printf "%q" (print "out" "put")}}`, null, `"output"`],
    [`{{"put" | printf "%s%s" "out" | printf "%q"}}`, null, `"output"`],
    [`{{"output" | printf "%s" | printf "%q"}}`, null, `"output"`],
    [`{{with "output"}}{{printf "%q" .}}{{end}}`, null, `"output"`],
    [`{{with $x := "output" | printf "%q"}}{{$x}}{{end}}`, null, `"output"`],
    [`{{with $x := "output"}}{{printf "%q" $x}}{{end}}`, null, `"output"`],
    [`{{with $x := "output"}}{{$x | printf "%q"}}{{end}}`, null, `"output"`],
    // control
    ["{{if .A}}yes{{else}}no{{end}}", { A: [] }, "no"],
    ["{{if .A}}1{{else if .B}}2{{else}}3{{end}}", { A: 0, B: "x" }, "2"],
    ["{{with .A}}{{.}}{{else}}none{{end}}", { A: "" }, "none"],
    ["{{range .L}}<{{.}}>{{else}}empty{{end}}", { L: ["a", "b"] }, "<a><b>"],
    ["{{range .L}}<{{.}}>{{else}}empty{{end}}", { L: [] }, "empty"],
    ["{{range $i, $e := .L}}{{$i}}={{$e}} {{end}}", { L: ["a", "b"] }, "0=a 1=b "],
    ["{{range $k, $v := .M}}{{$k}}={{$v}} {{end}}", { M: { b: 2, a: 1 } }, "a=1 b=2 "],
    [
      "{{range .L}}{{if eq . 2}}{{continue}}{{end}}{{if eq . 4}}{{break}}{{end}}{{.}}{{end}}",
      { L: [1, 2, 3, 4, 5] },
      "13",
    ],
    ["{{range .L}}{{$.N}}{{end}}", { L: [1, 2], N: "n" }, "nn"],
    ["{{$x := 1}}{{range .L}}{{$x = .}}{{end}}{{$x}}", { L: [7, 8] }, "8"],
    // values
    [
      "{{.A}} {{.B}} {{.C}}",
      { A: null, B: true, C: [1, "x", null] },
      "<no value> true [1 x <nil>]",
    ],
    ["{{.Labels}}", { Labels: { b: "2", a: "1" } }, "map[a:1 b:2]"],
    ["{{.Labels.nothing}}", { Labels: { a: "1" } }, "<no value>"],
    [`{{index .Labels "a.b"}}|{{index .Labels "none"}}|`, { Labels: { "a.b": "1" } }, "1||"],
    [`{{(index .L 1).A}}`, { L: [{}, { A: 5 }] }, "5"],
    ["{{len .L}} {{len .S}}", { L: [1, 2], S: "é" }, "2 2"],
    // functions
    ["{{eq .A 1 2}} {{ne .A 2}} {{lt 1 2}} {{ge 2 2}}", { A: 2 }, "true false true true"],
    ["{{and 1 0}} {{or 0 5}} {{not 0}}", null, "0 5 true"],
    ["{{or .A .B.C.D}}", { A: "short", B: null }, "short"],
    ["{{json .}}", { a: [1, "<&>"] }, '{"a":[1,"<&>"]}'],
    [`{{join .L ","}} {{split "a-b" "-"}}`, { L: ["a", "b"] }, "a,b [a b]"],
    [`{{title "the end"}} {{upper "a"}} {{lower "B"}}`, null, "The End A b"],
    [`[{{pad "x" 1 2}}] {{truncate "abcdef" 3}}`, null, "[ x  ] abc"],
    [`{{println "a" 1}}`, null, "a 1\n"],
    [
      `{{printf "%05d|%-4s|%6.2f|%x|%v|%t|%%" 42 "ab" 3.14159 255 .L true}}`,
      { L: [1] },
      "00042|ab  |  3.14|ff|[1]|true|%",
    ],
    [`{{html "<a>"}} {{urlquery "a b&"}}`, null, "&lt;a&gt; a+b%26"],
    [`{{slice "abcdef" 1 3}}`, null, "bc"],
    [
      `{{define "a"}}<{{.}}{{$}}>{{end}}{{template "a" .N}}{{template "a"}}`,
      { N: 1 },
      "<11><<no value><no value>>",
    ],
    [`{{block "b" .N}}[{{.}}]{{end}}{{template "b" 2}}`, { N: 1 }, "[1][2]"],
    [`{{template "later" .}}{{define "later"}}{{.N}}{{end}}`, { N: 1 }, "1"],
    [
      `{{.Labels}} {{json .Labels}} {{len .Env}} {{.Env}}`,
      { Labels: null, Env: null },
      "map[] null 0 []",
    ],
    [`{{json .Options}}`, { Options: { b: 1, a: 2 } }, `{"a":2,"b":1}`],
  ])("%s", (source, data, expected) => {
    expect(run(source, markMaps(data))).toBe(expected);
  });
});

describe("mistakes are told in Go's words", () => {
  test.each([
    ["{{", "template: :1: unclosed action"],
    ["{{.A", "template: :1: unclosed action"],
    ["\n{{foo}}", 'template: :2: function "foo" not defined'],
    ["{{$x}}", 'template: :1: undefined variable "$x"'],
    ["{{if .A}}", "template: :1: unexpected EOF"],
    ["{{end}}", "template: :1: unexpected {{end}}"],
    ["{{}}", "template: :1: missing value for command"],
    ["{{.A}}{{/* x", "template: :1: unclosed comment"],
    ["{{break}}", "template: :1: {{break}} outside {{range}}"],
    ["{{define 1}}{{end}}", "template: :1: unexpected <1> in define clause"],
    [`{{define "a"}}`, "template: :1: unexpected EOF"],
    [`{{define "a"}}{{$x}}{{end}}`, 'template: :1: undefined variable "$x"'],
    [`{{if 1}}{{define "a"}}{{end}}{{end}}`, 'template: :1: function "define" not defined'],
  ])("%s", (source, message) => {
    expect(() => compileTemplate(source)).toThrow(message);
  });

  test("a template that is not there, and one that uses itself without end, are errors", () => {
    expect(() => run(`{{template "none" .}}`, {})).toThrow(
      'template: :1:11: executing "" at <{{template "none" .}}>: template "none" not defined',
    );
    expect(() => run(`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`, {})).toThrow(
      "exceeded maximum template depth",
    );
  });

  test("a field that a document lacks is an error, with where and what", () => {
    expect(() => run("{{.A.B}}", { A: {} })).toThrow(
      'template: :1:4: executing "" at <.A.B>: map has no entry for key "B"',
    );
  });

  test("a method is called with its arguments, and only with as many as it has", () => {
    const row = new Row("*formatter.ContainerContext", {
      Label: (name: unknown) => `<${String(name)}>`,
    });
    expect(run(`{{.Label "a"}}`, row)).toBe("<a>");
    expect(() => run("{{.Label}}", row)).toThrow("wrong number of args for Label: want 1 got 0");
    expect(() => run("{{.Nope}}", row)).toThrow(
      "can't evaluate field Nope in type *formatter.ContainerContext",
    );
  });
});

test("text without actions comes out as it went in", () => {
  fc.assert(
    fc.property(
      fc.string().filter((text) => !text.includes("{{")),
      (text) => expect(run(text)).toBe(text),
    ),
  );
});

test("any template ends in text or a TemplateError", () => {
  const piece = fc.constantFrom(
    "{{",
    "}}",
    " ",
    ".",
    "$",
    "A",
    "if ",
    "range ",
    "end",
    "(",
    ")",
    "|",
    ":=",
    '"',
    "1",
    "json ",
    "else",
    "-",
    "index",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      try {
        run(pieces.join(""), { A: [1] });
      } catch (thrown) {
        expect((thrown as Error).message).toStartWith("template: ");
      }
    }),
    { numRuns: 2000 },
  );
});
