import { describe, expect, test } from "bun:test";

import { Row } from "#go-template";
import { listFormatter } from "./formatter.ts";

describe("lists", () => {
  const headers = { ID: "CONTAINER ID", Names: "NAMES" };
  const rows = [
    new Row("t", {
      ID: () => "1",
      Names: () => "web",
      Label: (name: unknown) => `${String(name)}!`,
    }),
  ];
  const list = (format: string) =>
    listFormatter({ format, table: "table {{.ID}}\t{{.Names}}", headers })(rows);

  test.each([
    ["", "CONTAINER ID   NAMES\n1              web\n"],
    ["table", "CONTAINER ID   NAMES\n1              web\n"],
    ["table {{.Names}}\\t{{.ID}}", "NAMES     CONTAINER ID\nweb       1\n"],
    ["{{.Names}}", "web\n"],
    ["json", '{"ID":"1","Names":"web"}\n'],
    [`table {{.Label "com.example.the-owner"}}`, "the owner\ncom.example.the-owner!\n"],
    ["table {{upper .Names}}", "NAMES\nWEB\n"],
  ])("--format %p", (format, expected) => expect(list(format)).toBe(expected));

  test("a wrong template is told before anything is asked", () => {
    expect(() => listFormatter({ format: "{{foo}}", table: "", headers })).toThrow(
      'template parsing error: template: :1: function "foo" not defined',
    );
  });
});
