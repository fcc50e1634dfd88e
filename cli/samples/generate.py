"""Writes webhooks.jsonl, always the same: python3 generate.py > webhooks.jsonl

The mix is made for the demo: every behaviour of its upstream, in the proportions below, shuffled.
See README.md for the format.
"""

import hashlib
import json
import random

SEED = 20
# Behaviour: how many deliveries, and how often they fail, by share ("" leaves it to the default).
MIX = {
    "network": (420, [(1, 30), (2, 30), (3, 20), (0, 12), ("always", 8)]),
    "rate-limited": (340, [(1, 60), (2, 20), (0, 20)]),
    "conflict": (380, [(1, 45), (2, 30), (0, 20), ("always", 5)]),
    "down": (320, [("", 1)]),
    "invalid": (260, [("", 1)]),
    "not-found": (260, [("", 90), (0, 10)]),
    "auth": (260, [("", 90), (0, 10)]),
    "timeout": (160, [(1, 62), (0, 25), (2, 10), ("always", 3)]),
}
KINDS = [
    "order.created", "order.shipped", "invoice.paid", "invoice.overdue",
    "payment.failed", "refund.issued", "subscription.renewed", "customer.updated",
]
HOSTS = [
    "hooks.northwind.example", "api.acme.example", "in.globex.example", "events.initech.example",
    "hooks.umbrella.example", "api.soylent.example", "erp.wonka.example", "ops.tyrell.example",
]
PATHS = {"order": "/v2/orders", "invoice": "/billing/invoices", "payment": "/billing/payments",
         "refund": "/billing/refunds", "subscription": "/billing/subscriptions",
         "customer": "/crm/customers"}
PREFIX = {"order": "ord", "invoice": "inv", "payment": "pay", "refund": "ref",
          "subscription": "sub", "customer": "cus"}


def token(rng, length):
    return "".join(rng.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(length))


def subject(rng, kind, behaviour):
    """What the event is about, in the way of a payment provider's webhooks."""
    noun = kind.split(".")[0]
    amount = rng.randrange(450, 980_000)
    about = {"id": f"{PREFIX[noun]}_{token(rng, 10)}", "customer": f"cus_{token(rng, 8)}"}
    if noun == "customer":
        about = {"id": about["customer"], "email": f"{token(rng, 6)}@mail.example"}
    else:
        about["amount"] = amount
        about["currency"] = rng.choice(["eur", "usd", "gbp", "chf"])
    if noun == "order":
        about["items"] = rng.randrange(1, 9)
    if behaviour == "invalid" and rng.random() < 0.9:
        spoil = rng.randrange(3)
        if spoil == 0:
            about["amount"] = f"{amount // 100},{amount % 100:02d}"
        elif spoil == 1:
            del about["id"]
        else:
            about["id"] = None
    return about


def line(rng, number, behaviour, fails):
    kind = rng.choice(KINDS)
    body = {"type": kind, "created": 1_790_000_000 + number * 7 + rng.randrange(7),
            "object": subject(rng, kind, behaviour)}
    signature = hashlib.sha256(json.dumps(body).encode()).hexdigest()[:24]
    delivery = {"id": f"evt_{number:05d}", "kind": kind, "behaviour": behaviour}
    if fails != "":
        delivery["fails"] = fails
    delivery["url"] = f"https://{rng.choice(HOSTS)}{PATHS[kind.split('.')[0]]}"
    delivery["headers"] = {"content-type": "application/json", "x-signature": signature}
    delivery["body"] = body
    return json.dumps(delivery, separators=(",", ":"))


def main():
    rng = random.Random(SEED)
    plan = []
    for behaviour, (count, shares) in MIX.items():
        values, weights = zip(*shares)
        plan += [(behaviour, fails) for fails in rng.choices(values, weights, k=count)]
    rng.shuffle(plan)
    for number, (behaviour, fails) in enumerate(plan, 1):
        print(line(rng, number, behaviour, fails))


main()
