/** The sentence of a failure as a person should read it, with the fix where there is one. */
import { sentenceOf } from "#base";
import { ApiError, ConnectionError } from "#clients/api-client";

export function messageFor(thrown: unknown): string {
  if (thrown instanceof ApiError) return `Error response from daemon: ${thrown.message}`;
  if (thrown instanceof ConnectionError && thrown.failure === "permission") {
    const path = thrown.endpoint.replace("unix://", "");
    return `${thrown.message}: connect: permission denied
Run it as root, or join the group that owns the socket: 'ls -l ${path}' shows which, 'sudo usermod -aG GROUP $USER' joins it from the next login on.`;
  }
  return sentenceOf(thrown);
}
