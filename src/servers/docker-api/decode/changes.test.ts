import { expect, test } from "bun:test";

import { decodeChanges } from "./changes.ts";

test("--change reads the instructions that set an image's config", () => {
  expect(
    decodeChanges([
      'CMD ["sh", "-c", "echo $HOME"]',
      "ENTRYPOINT exec top -b",
      'ENV A=1 B="two words" C=\\$A\nENV D three $A times',
      "LABEL who='me'",
      "EXPOSE 80 8000-8002/udp",
      "VOLUME /a /b",
      "WORKDIR /srv\nWORKDIR app",
      "USER 5:5",
      "STOPSIGNAL SIGINT",
    ]),
  ).toEqual({
    Cmd: ["sh", "-c", "echo $HOME"],
    Entrypoint: ["/bin/sh", "-c", "exec top -b"],
    Env: ["A=1", "B=two words", "C=$A", "D=three 1 times"],
    Labels: { who: "me" },
    ExposedPorts: { "80/tcp": {}, "8000/udp": {}, "8001/udp": {}, "8002/udp": {} },
    Volumes: { "/a": {}, "/b": {} },
    WorkingDir: "/srv/app",
    User: "5:5",
    StopSignal: "SIGINT",
  });
  expect(decodeChanges(['HEALTHCHECK --interval=2s --retries=4 CMD ["a", "b"]'])).toEqual({
    Healthcheck: { Test: ["CMD", "a", "b"], Interval: 2e9, Retries: 4 },
  });
  expect(decodeChanges(["healthcheck NONE"])).toEqual({ Healthcheck: { Test: ["NONE"] } });
  expect(() => decodeChanges(["HEALTHCHECK true"])).toThrow('Unknown type "TRUE" in HEALTHCHECK');
  expect(() => decodeChanges(["RUN true"])).toThrow("RUN is not a valid change command");
  expect(() => decodeChanges(["NONSENSE x"])).toThrow("NONSENSE is not a valid change command");
  expect(() => decodeChanges(['ENV A="1'])).toThrow("matching quote");
  expect(() => decodeChanges(["CMD"])).toThrow("CMD requires at least one argument");
  expect(() => decodeChanges(["USER"])).toThrow("USER requires exactly one argument");
  expect(() => decodeChanges(["STOPSIGNAL FOO"])).toThrow("invalid signal: FOO");
  expect(() => decodeChanges(["STOPSIGNAL 0"])).toThrow("invalid signal: 0");
  expect(decodeChanges(["STOPSIGNAL 77"])).toEqual({ StopSignal: "77" });
  expect(() => decodeChanges(["EXPOSE x"])).toThrow("Invalid containerPort: x");
  expect(() => decodeChanges(["ONBUILD onbuild RUN x"])).toThrow("Chaining ONBUILD");
  expect(() => decodeChanges(["ONBUILD FROM x"])).toThrow("FROM isn't allowed as an ONBUILD");
});
