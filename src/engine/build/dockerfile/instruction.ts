/**
 * The instruction tree of a Dockerfile: what the text says, before any variable has a value.
 * Source: the Dockerfile reference (docs.docker.com/reference/dockerfile), syntax 1.20.
 */

/** Lines are counted from 1. */
export interface Location {
  readonly startLine: number;
  readonly endLine: number;
}

/** A file that is written in the Dockerfile itself. */
export interface Heredoc {
  readonly name: string;
  /** `<<-`: leading tabs of every line go. */
  readonly chomp: boolean;
  /** Unquoted name: variables have values inside. */
  readonly expand: boolean;
  readonly descriptor: number;
  readonly content: string;
}

/** A program: its words (exec form), or one text for the shell. */
export interface CommandLine {
  readonly form: "exec" | "shell";
  readonly words: readonly string[];
}

/** `NAME=value`, in the order written; both still with quotes and variables. */
export interface Pair {
  readonly name: string;
  readonly value: string;
}

interface Written {
  /** As the text has it, continuation lines joined, without what a heredoc holds. */
  readonly original: string;
  readonly location: Location;
  /** As the text has it: casing is worth a warning. */
  readonly keyword: string;
  readonly comments: readonly string[];
}

/** COPY and ADD share most of what they can do. */
export interface FileSources {
  readonly sources: readonly string[];
  readonly heredocs: readonly Heredoc[];
  readonly destination: string;
  readonly chown: string;
  readonly chmod: string;
  readonly link: boolean;
  readonly exclude: readonly string[];
}

export interface HealthCheck {
  readonly test: readonly string[];
  readonly intervalNanoseconds: number;
  readonly timeoutNanoseconds: number;
  readonly startPeriodNanoseconds: number;
  readonly startIntervalNanoseconds: number;
  readonly retries: number;
}

export interface RunMountRequest {
  readonly type: "bind" | "cache" | "tmpfs" | "secret" | "ssh";
  readonly from: string;
  readonly source: string;
  /** "" is the working directory, or nowhere for a secret that is a variable. */
  readonly target: string;
  readonly readOnly: boolean;
  readonly id: string;
  readonly sharing: "shared" | "private" | "locked";
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
  readonly sizeBytes: number | null;
  readonly required: boolean;
  /** The variable a secret is given in; null: a file. */
  readonly env: string | null;
}

/** A device by the name that the Container Device Interface gives it. */
export interface RunDevice {
  readonly name: string;
  /** Without it the step cannot run; else it runs without the device. */
  readonly required: boolean;
}

export type InstructionBody =
  | { readonly kind: "arg"; readonly arguments: readonly { name: string; value: string | null }[] }
  | { readonly kind: "env"; readonly pairs: readonly Pair[]; readonly legacy: boolean }
  | { readonly kind: "label"; readonly pairs: readonly Pair[]; readonly legacy: boolean }
  | {
      readonly kind: "run";
      readonly command: CommandLine;
      readonly heredocs: readonly Heredoc[];
      /** Texts of `--mount`, expanded and read when the step is built. */
      readonly mounts: readonly string[];
      readonly devices: readonly RunDevice[];
      readonly network: "default" | "none" | "host";
      readonly security: "sandbox" | "insecure";
    }
  | (FileSources & { readonly kind: "copy"; readonly from: string; readonly parents: boolean })
  | (FileSources & {
      readonly kind: "add";
      readonly checksum: string;
      readonly keepGitDirectory: boolean;
      /** null: an archive of the context is unpacked, one of a URL is not. */
      readonly unpack: boolean | null;
    })
  | { readonly kind: "cmd"; readonly command: CommandLine }
  | { readonly kind: "entrypoint"; readonly command: CommandLine }
  | { readonly kind: "shell"; readonly words: readonly string[] }
  | { readonly kind: "workdir"; readonly path: string }
  | { readonly kind: "user"; readonly user: string }
  | { readonly kind: "expose"; readonly ports: readonly string[] }
  | { readonly kind: "volume"; readonly paths: readonly string[] }
  | { readonly kind: "stopsignal"; readonly signal: string }
  | { readonly kind: "healthcheck"; readonly check: HealthCheck }
  | { readonly kind: "onbuild"; readonly trigger: string }
  | { readonly kind: "maintainer"; readonly name: string };

export type Instruction = Written & InstructionBody;

export interface Stage {
  /** As FROM has it, variables not expanded. */
  readonly base: string;
  /** Lower case; "" for none. */
  readonly name: string;
  readonly platform: string;
  readonly original: string;
  readonly keyword: string;
  readonly asKeyword: string;
  readonly asWritten: string;
  readonly location: Location;
  readonly comments: readonly string[];
  readonly instructions: readonly Instruction[];
}

/** `# check=skip=a,b;error=true;experimental=c`. */
export interface CheckDirective {
  /** Rules that are on only when asked for; `all` for every one. */
  readonly experimental: readonly string[];
  readonly skip: readonly string[];
  readonly skipAll: boolean;
  readonly error: boolean;
}

export interface Dockerfile {
  readonly escape: "\\" | "`";
  /** `# syntax=`, or null. */
  readonly syntax: string | null;
  readonly check: CheckDirective;
  /** ARG before the first FROM. */
  readonly globalArguments: readonly Extract<Instruction, { kind: "arg" }>[];
  readonly stages: readonly Stage[];
  /** Lines where an instruction goes on after an empty line. */
  readonly emptyContinuations: readonly Location[];
  /** The text's lines, for errors that show them. */
  readonly lines: readonly string[];
}
