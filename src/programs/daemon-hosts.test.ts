import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { readTlsIdentity } from "./daemon-hosts.ts";

const folder = mkdtempSync("/tmp/naru-test-tls-files-");
const pem = (name: string): string => join(folder, `${name}.pem`);

beforeAll(() => {
  for (const name of ["one", "other"]) {
    const made = Bun.spawnSync(
      `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=${name} -keyout ${pem(`${name}-key`)} -out ${pem(name)}`.split(
        " ",
      ),
    );
    if (!made.success) throw new Error(made.stderr.toString());
  }
  writeFileSync(
    pem("broken"),
    "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n",
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

const read = (cert: string, key: string) => () =>
  readTlsIdentity({ cert: pem(cert), key: pem(key), clientAuthority: null });

describe("the API's certificate", () => {
  test("comes with its own key", () => {
    expect(read("one", "one-key")().cert).toContain("BEGIN CERTIFICATE");
  });

  test("is refused by name with another's key, or when it is none", () => {
    expect(read("one", "other-key")).toThrow(
      `invalid TLS configuration: error reading X509 key pair (cert: "${pem("one")}", key: "${pem("other-key")}"): tls: private key does not match public key. Make sure the key is not encrypted.`,
    );
    expect(read("broken", "one-key")).toThrow(`cert: "${pem("broken")}"`);
    expect(read("nosuch", "one-key")).toThrow("no such file");
  });
});
