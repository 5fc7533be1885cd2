/** Makes src/wire/grpc/generated from the .proto files beside it. Needs no network. */
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const template = {
  version: "v2",
  plugins: [
    {
      local: join(root, "node_modules/.bin/protoc-gen-es"),
      out: "src/wire/grpc/generated",
      opt: ["target=ts", "import_extension=ts"],
    },
  ],
};
const buf = join(root, "node_modules/.bin/buf");
const made = Bun.spawnSync(
  [buf, "generate", "src/wire/grpc/proto", "--template", JSON.stringify(template)],
  { cwd: root, stdout: "inherit", stderr: "inherit" },
);
process.exit(made.exitCode);
