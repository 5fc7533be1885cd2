/** A program on a terminal of its own, for what only shows there: what it drew, keys typed at it, another size. */

export interface OnTerminal {
  readonly exited: Promise<number>;
  /** Everything it wrote. */
  output(): string;
  type(text: string): void;
  resize(size: { columns: number; rows: number }): void;
  /** SIGKILL to all of it, if it still lives. */
  kill(): void;
}

/** `setsid -c` gives it the terminal as its controlling one, so that a new size is told with SIGWINCH. */
export function runOnTerminal(
  command: readonly string[],
  size: { columns: number; rows: number },
  env: Record<string, string> = {},
): OnTerminal {
  let text = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn(["setsid", "-cw", ...command], {
    env: { ...process.env, TERM: "xterm", LANG: "C.UTF-8", ...env },
    terminal: {
      cols: size.columns,
      rows: size.rows,
      data: (_, chunk) => {
        text += decoder.decode(chunk, { stream: true });
      },
    },
  });
  const terminal = child.terminal;
  if (terminal === undefined) throw new Error("no terminal");
  return {
    exited: child.exited,
    output: () => text,
    type: (keys) => void terminal.write(keys),
    resize: ({ columns, rows }) => terminal.resize(columns, rows),
    kill: () => child.kill("SIGKILL"),
  };
}
