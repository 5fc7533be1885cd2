/** Which Linux security modules watch over this host: AppArmor, SELinux. */
import { existsSync, readFileSync } from "node:fs";

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
};

/** Whether profiles can be loaded and applied. */
export const apparmorEnabled = (): boolean =>
  read("/sys/module/apparmor/parameters/enabled") === "Y" &&
  existsSync("/sys/kernel/security/apparmor");
