import { describe, expect, test } from "bun:test";

import { parseMount } from "./mounts.ts";

describe("--mount", () => {
  test("fields, quoted where they hold a comma", () => {
    expect(parseMount('type=bind,"src=/a,b",dst=/c,ro,bind-propagation=rslave')).toEqual({
      Type: "bind",
      Source: "/a,b",
      Target: "/c",
      ReadOnly: true,
      BindOptions: { Propagation: "rslave" },
    });
  });

  test.each([
    ["type=bind", "target is required"],
    ["dst=/a,foo=1", "unexpected key 'foo' in 'foo=1'"],
    ["dst=/a,foo", "invalid field 'foo' must be a key=value pair"],
    ["type=bind,dst=/a,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"],
  ])("%s is refused", (text, message) => expect(() => parseMount(text)).toThrow(message));
});
