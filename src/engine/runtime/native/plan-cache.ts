/** Plans laid out in memory, kept by shape: births of one shape differ only in what goes into slots. */
import { type EncodedPlan, encodePlan, fillSlots } from "./encode.ts";
import type { Plan, SlotValues } from "./plan.ts";

/** Shapes kept at once, some 80 KiB each: images, options and users of one host repeat. */
const KEPT_PLANS = 24;
const FIRST_SLOT_BYTES = 16 * 1024;

export interface CachedPlanRequest {
  /** Equal keys, equal plans. */
  readonly key: string;
  readonly compile: () => Plan;
  readonly slots: SlotValues;
}

export class PlanCache {
  readonly #plans = new Map<string, EncodedPlan>();
  readonly #address: number;

  /** @param address where plans lie when they run */
  constructor(address: number) {
    this.#address = address;
  }

  /** The plan with its slots filled: to be cloned from at once, before anything else is encoded. */
  encode({ key, compile, slots }: CachedPlanRequest): EncodedPlan {
    let encoded = this.#plans.get(key) ?? this.#layOut(compile, FIRST_SLOT_BYTES);
    const missing = fillSlots(encoded, slots);
    if (missing > 0) {
      encoded = this.#layOut(compile, FIRST_SLOT_BYTES + missing * 2);
      fillSlots(encoded, slots);
    }
    this.#plans.delete(key);
    this.#plans.set(key, encoded);
    for (const oldest of this.#plans.keys()) {
      if (this.#plans.size <= KEPT_PLANS) break;
      this.#plans.delete(oldest);
    }
    return encoded;
  }

  #layOut(compile: () => Plan, slotBytes: number): EncodedPlan {
    return encodePlan(compile(), { slotBytes, address: this.#address });
  }
}
