import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { openStore, type Migration } from "./index.ts";

const folders: string[] = [];
const folder = (): string => {
  const path = mkdtempSync("/tmp/naru-test-store-");
  folders.push(path);
  return path;
};
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true });
});

const migrations: Migration[] = [
  { id: "test/1", sql: "CREATE TABLE pets (name TEXT PRIMARY KEY, age INTEGER)" },
  { id: "test/2", sql: "ALTER TABLE pets ADD COLUMN owner TEXT; CREATE INDEX ages ON pets (age)" },
];
const INSERT = "INSERT INTO pets (name, age) VALUES (?, ?)";

test("what a transaction returned from is there after opening again", () => {
  const path = join(folder(), "naru.db");
  {
    using store = openStore({ path, migrations });
    store.transact(() => store.query(INSERT).run("rex", 3));
  }
  using store = openStore({ path, migrations });
  expect(store.query("SELECT name, age FROM pets").all()).toEqual([{ name: "rex", age: 3 }]);
});

test("each migration is applied once, also when new ones come later", () => {
  const path = join(folder(), "naru.db");
  openStore({ path, migrations: migrations.slice(0, 1) })[Symbol.dispose]();
  openStore({ path, migrations })[Symbol.dispose]();
  using store = openStore({ path, migrations });
  expect(store.query("SELECT id FROM migrations").all()).toEqual([
    { id: "test/1" },
    { id: "test/2" },
  ]);
});

test("a migration that fails leaves nothing of itself", () => {
  const path = join(folder(), "naru.db");
  const bad = { id: "test/2", sql: "CREATE TABLE cats (a); CREATE TABLE cats (b)" };
  expect(() => openStore({ path, migrations: [...migrations.slice(0, 1), bad] })).toThrow(
    "database migration test/2",
  );
  using store = openStore({ path, migrations });
  expect(store.query("SELECT name FROM sqlite_master WHERE name = 'cats'").all()).toEqual([]);
});

test("a throw rolls everything back, a caught throw of an inner transaction only the inner", () => {
  using store = openStore({ path: join(folder(), "naru.db"), migrations });
  expect(() =>
    store.transact(() => {
      store.query(INSERT).run("rex", 3);
      throw new Error("no");
    }),
  ).toThrow("no");
  store.transact(() => {
    store.query(INSERT).run("tom", 4);
    try {
      store.transact(() => {
        store.query(INSERT).run("kit", 1);
        throw new Error("inner");
      });
    } catch {
      // the outer goes on
    }
  });
  expect(store.query("SELECT name FROM pets").all()).toEqual([{ name: "tom" }]);
});

test("asynchronous work is refused, since others could run inside the transaction", () => {
  using store = openStore({ path: join(folder(), "naru.db"), migrations });
  expect(() => store.transact(() => Promise.resolve(1))).toThrow("synchronous");
});

test("rows that wait are written inside the next outermost transaction", () => {
  using store = openStore({ path: join(folder(), "naru.db"), migrations });
  let calls = 0;
  store.beforeCommit(() => {
    calls += 1;
  });
  store.transact(() => store.transact(() => null));
  expect(calls).toBe(1);
});

test("a second connection is told that the database is in use", () => {
  const path = join(folder(), "naru.db");
  using store = openStore({ path, migrations });
  expect(store.path).toBe(path);
  const code = `import { openStore } from "${import.meta.dir}/index.ts";
    try { openStore({ path: process.argv[1], migrations: [], lockWaitMs: 50 }); } catch (error) { console.log(error.message); }`;

  const child = Bun.spawnSync([process.execPath, "-e", code, path]);
  expect(child.stdout.toString()).toContain("is in use by another process");
});

test("a damaged file is an error, stays, and is copied aside", () => {
  const path = join(folder(), "naru.db");
  {
    using store = openStore({ path, migrations });
    store.transact(() => {
      for (let index = 0; index < 2000; index += 1) store.query(INSERT).run(`pet${index}`, index);
    });
  }
  const bytes = readFileSync(path);
  bytes.fill(0xaa, 4096, 4096 * 6);
  writeFileSync(path, bytes);
  expect(() => openStore({ path, migrations })).toThrow("is damaged");
  expect(readFileSync(path).equals(bytes)).toBe(true);
  expect(readFileSync(`${path}.corrupt`).equals(bytes)).toBe(true);
});

test("a file that is no database is an error and stays", () => {
  const path = join(folder(), "naru.db");
  writeFileSync(
    path,
    "hello, I am a text file and certainly not a database of any kind".repeat(20),
  );
  expect(() => openStore({ path, migrations })).toThrow("is damaged");
  expect(readFileSync(path, "utf8")).toStartWith("hello");
});

test("a full disk refuses writes with a clear sentence and still answers reads", () => {
  const mountPoint = folder();
  const sized = (size: string) =>
    Bun.spawnSync(["mount", "-t", "tmpfs", "-o", size, "naru-test", mountPoint]);
  sized("size=256k");
  try {
    const path = join(mountPoint, "naru.db");
    {
      using store = openStore({ path, migrations });
      store.transact(() => store.query(INSERT).run("rex", 3));
      try {
        writeFileSync(join(mountPoint, "filler"), new Uint8Array(512 * 1024));
      } catch {
        // full now
      }
    }
    using store = openStore({ path, migrations });
    expect(store.query("SELECT name FROM pets").all()).toEqual([{ name: "rex" }]);
    const many = () =>
      store.transact(() => {
        for (let index = 0; index < 9000; index += 1) store.query(INSERT).run(`p${index}`, index);
      });
    expect(many).toThrow("no space left on device");
    expect(store.query("SELECT name FROM pets").all()).toEqual([{ name: "rex" }]);
  } finally {
    Bun.spawnSync(["umount", mountPoint]);
  }
});

test("what need only survive the process survives SIGKILL, and the next durable commit takes it along", () => {
  const path = join(folder(), "naru.db");
  const migrations = [{ id: "t/1", sql: "CREATE TABLE t (x TEXT)" }];
  const script = `
    const { openStore } = await import(${JSON.stringify(import.meta.resolve("./index.ts"))});
    const store = openStore({ path: ${JSON.stringify(path)}, migrations: ${JSON.stringify(migrations)} });
    const add = (x) => () => store.query("INSERT INTO t VALUES (?)").run(x);
    store.transact(add("durable"));
    store.transact(add("quick"), "process");
    process.kill(process.pid, "SIGKILL");`;
  const killed = Bun.spawnSync([process.execPath, "-e", script]);
  expect(killed.signalCode).toBe("SIGKILL");
  using store = openStore({ path, migrations });
  expect(store.query<{ x: string }>("SELECT x FROM t").all()).toEqual([
    { x: "durable" },
    { x: "quick" },
  ]);
});

test("on a full disk rows can still be changed and deleted, also after a start without a clean end", () => {
  const mountPoint = folder();
  Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=12m", "naru", mountPoint]);
  const path = join(mountPoint, "naru.db");
  const change = `
    const { openStore } = await import(${JSON.stringify(import.meta.resolve("./index.ts"))});
    const store = openStore({ path: ${JSON.stringify(path)}, migrations: ${JSON.stringify(migrations)} });
    const insert = store.query(${JSON.stringify(INSERT)});
    if (process.argv[1] === "fill") {
      store.transact(() => { for (let n = 0; n < 2000; n += 1) insert.run("p" + n, n); });
      const { openSync, writeSync } = await import("node:fs");
      const file = openSync(${JSON.stringify(join(mountPoint, "fill"))}, "w");
      try { for (;;) writeSync(file, new Uint8Array(4096)); } catch {}
    }
    const age = store.query("UPDATE pets SET age = age + 1 WHERE name = ?");
    const remove = store.query("DELETE FROM pets WHERE name = ?");
    const from = process.argv[1] === "fill" ? 0 : 700;
    for (let n = from; n < from + 700; n += 1) {
      store.transact(() => age.run("p" + n));
      store.transact(() => remove.run("p" + n));
    }
    process.kill(process.pid, "SIGKILL");`;
  try {
    for (const part of ["fill", "again"]) {
      const killed = Bun.spawnSync([process.execPath, "-e", change, part]);
      expect({ part, signal: killed.signalCode, said: killed.stderr.toString() }).toEqual({
        part,
        signal: "SIGKILL",
        said: "",
      });
    }
  } finally {
    Bun.spawnSync(["umount", mountPoint]);
  }
});

/** Syncs that end when they are told to. */
function heldSyncs() {
  const begun: { what: string; end: (failure?: Error) => void }[] = [];
  const sync = (_: number, what: string): Promise<void> =>
    new Promise((resolve, reject) => {
      begun.push({ what, end: (failure) => (failure ? reject(failure) : resolve()) });
    });
  const next = async () => {
    while (begun.length === 0) await new Promise(setImmediate);
    return begun.shift() ?? { what: "", end: () => undefined };
  };
  return { begun, sync, next };
}

test("what is only answered after a sync shares it with others, and waits for no one else's", async () => {
  const { begun, sync, next } = heldSyncs();
  using store = openStore({ path: join(folder(), "naru.db"), migrations, sync });
  const add = (name: string) => store.transact(() => store.query(INSERT).run(name, 1), "answer");
  expect(store.synced()).toBeNull();
  add("rex");
  add("max");
  const first = store.synced();
  expect(store.synced()).toBe(first);
  expect(store.query("SELECT count(*) AS n FROM pets").get()).toEqual({ n: 2 });
  const folderSync = await next();
  expect(folderSync.what).toBe("folder");
  folderSync.end();
  const dataSync = await next();
  // Comes too late for the sync that is under way.
  add("leo");
  const second = store.synced();
  expect(second).not.toBe(first);
  let isSecond = false;
  void second?.then(() => (isSecond = true));
  dataSync.end();
  await first;
  expect(isSecond).toBe(false);
  (await next()).end();
  await second;
  expect(store.synced()).toBeNull();
  expect(begun).toEqual([]);
});

test("a sync that failed is told to all who waited for it, and tried again for the next", async () => {
  const { sync, next } = heldSyncs();
  using store = openStore({ path: join(folder(), "naru.db"), migrations, sync });
  store.transact(() => store.query(INSERT).run("rex", 3), "answer");
  const failed = store.synced();
  (await next()).end();
  (await next()).end(new Error("input/output error"));
  expect(await failed?.catch((cause: unknown) => String(cause))).toContain("input/output error");
  const again = store.synced();
  expect(again).not.toBeNull();
  (await next()).end();
  await again;
  expect(store.synced()).toBeNull();
});
