/** The cli. */
export async function run(_args: readonly string[]): Promise<void> {
  throw new Error("not wired yet");
}
