/** Docker's progress lines: statuses of layers, and bars that do not flood the wire. */
import { humanSize } from "#base";

import type { OnProgress, ProgressMessage } from "./image-service.ts";

/** A layer's bar moves at most this often. */
const BAR_INTERVAL_MS = 100;
const BAR_WIDTH = 50;
const SIZE_DIGITS = 4;

/** One layer's lines. */
export interface LayerProgress {
  status(status: string): void;
  bar(status: string, current: number, total: number): void;
}

export function layerProgress(onProgress: OnProgress, id: string): LayerProgress {
  let lastBar = 0;
  return {
    status: (status) => onProgress({ status, progressDetail: {}, id }),
    bar: (status, current, total) => {
      const now = performance.now();
      if (current < total && now - lastBar < BAR_INTERVAL_MS) return;
      lastBar = now;
      onProgress(barMessage({ status, id, current, total }));
    },
  };
}

export function barMessage(request: {
  status: string;
  id?: string;
  current: number;
  total: number;
}): ProgressMessage {
  const { status, id, current, total } = request;
  return {
    status,
    progressDetail: { current, ...(total > 0 ? { total } : {}) },
    progress: barText(current, total),
    ...(id === undefined ? {} : { id }),
  };
}

/** `[=====>      ]  1.2MB/12MB`, fifty columns wide. */
export function barText(current: number, total: number): string {
  const done = humanSize(current, SIZE_DIGITS).padStart(8);
  if (total <= 0 || current > total) return done;
  const filled = Math.floor(Math.trunc((current / total) * 100) / 2);
  const bar = `[${"=".repeat(filled)}>${" ".repeat(BAR_WIDTH - filled)}]`;
  return `${bar} ${done}/${humanSize(total, SIZE_DIGITS)}`;
}
