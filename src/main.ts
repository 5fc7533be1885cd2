/** The one binary: picks a program by its first word. Each sits behind its own import, so a start loads only what it runs. */

const [program, ...rest] = process.argv.slice(2);

switch (program) {
  case "daemon":
    await (await import("./programs/daemon.ts")).run(rest);
    break;
  case "supervisor":
    await (await import("./programs/supervisor.ts")).run(rest);
    break;
  case "log-delivery":
    await (await import("./programs/log-delivery.ts")).run();
    break;
  case "container-files":
    await (await import("./programs/container-files.ts")).run(rest);
    break;
  case undefined:
  default:
    await (await import("./programs/cli.ts")).run(process.argv.slice(2));
}

export {};
