/** This program again, as another of its programs: from the binary that runs, whatever its name is now. */
export const ownCommand = (program: string): string[] => {
  const fromSource = !import.meta.path.startsWith("/$bunfs/");
  return [`/proc/${process.pid}/exe`, ...(fromSource ? [Bun.main] : []), program];
};
