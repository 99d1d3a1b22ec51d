"""Small sums, comparisons and counting. A sum (its pair of numbers and its operation, in
either order) is either in the training text or in the held-out text, never in both; the
multiplication table up to ten is to be known by heart and is in both."""


def _draw(rng, split):
    """(a, symbol, b, result) from the wanted half of the split."""
    while True:
        symbol = rng.choice("+++---*")
        if symbol == "*":
            a, b = rng.randint(0, 10), rng.randint(0, 10)
            return a, symbol, b, a * b
        top = rng.choice([10, 20, 100, 100])
        a, b = rng.randrange(top), rng.randrange(top)
        if symbol == "-" and a < b:
            a, b = b, a
        low, high = min(a, b), max(a, b)
        if split.allows("sum", symbol, low, high):
            return a, symbol, b, a + b if symbol == "+" else a - b


def make_sum_lines(rng, split):
    """Raw text: a few lines '12 + 7 = 19'."""
    lines = []
    for _ in range(rng.randint(4, 12)):
        a, symbol, b, result = _draw(rng, split)
        lines.append(f"{a} {symbol} {b} = {result}")
    return "\n".join(lines)


ASK = {"+": ["What is {a} + {b}?", "What is {a} plus {b}?", "{a} + {b} = ?", "{a} + {b}", "Add {a} and {b}.", "How much is {a} plus {b}?",
             "How much is {a} + {b}?"],
       "-": ["What is {a} - {b}?", "What is {a} minus {b}?", "{a} - {b} = ?", "{a} - {b}", "Take {b} from {a}.", "How much is {a} minus {b}?",
             "How much is {a} - {b}?"],
       "*": ["What is {a} * {b}?", "What is {a} times {b}?", "{a} * {b} = ?", "{a} * {b}", "Multiply {a} by {b}.", "How much is {a} times {b}?",
             "How much is {a} x {b}?"]}


def ask_sum(rng, split):
    """One question and answer. The answer repeats the sum, so that question form and
    arithmetic are learnt apart."""
    if rng.random() < 0.12:
        return _word_problem(rng, split)
    if rng.random() < 0.12:
        return _compare(rng, split)
    a, symbol, b, result = _draw(rng, split)
    return rng.choice(ASK[symbol]).format(a=a, b=b), f"{a} {symbol} {b} = {result}"


def _compare(rng, split):
    while True:
        a, b = rng.sample(range(100), 2)
        if split.allows("compare", a, b):
            break
    low, high = min(a, b), max(a, b)
    return rng.choice([(f"Which is larger, {a} or {b}?", f"{high} is larger than {low}."),
                       (f"Which is smaller, {a} or {b}?", f"{low} is smaller than {high}."),
                       (f"Is {a} larger than {b}?", f"{'Yes' if a > b else 'No'}, {high} is larger than {low}.")])


def _word_problem(rng, split):
    from words import BOYS, FRUITS, GIRLS, OBJECTS
    while True:
        a, b = rng.randint(1, 12), rng.randint(1, 12)
        name = rng.choice(BOYS + GIRLS)
        thing = rng.choice(FRUITS + [o + "s" for o in OBJECTS if o != "scarf"])
        if split.allows("problem", name, thing, a, b):
            break
    if rng.random() < 0.5 or a <= b:
        return (f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?",
                f"{a} + {b} = {a + b}. {name} has {a + b} {thing} now.")
    return (f"{name} has {a} {thing} and gives away {b}. How many {thing} does {name} have now?",
            f"{a} - {b} = {a - b}. {name} has {a - b} {thing} now.")


def ask_count(rng, split):
    """Counting up, down and in steps, all within 0..30."""
    while True:
        low = rng.randint(0, 20)
        high = low + rng.randint(2, 10)
        if split.allows("count", low, high):
            break
    if rng.random() < 0.6:
        return (rng.choice([f"Count from {low} to {high}.", f"Please count from {low} to {high}.", f"Can you count from {low} to {high}?"]),
                ", ".join(map(str, range(low, high + 1))) + ".")
    if rng.random() < 0.5:
        return f"Count down from {high} to {low}.", ", ".join(map(str, range(high, low - 1, -1))) + "."
    return rng.choice([(f"What number comes after {high}?", f"The number after {high} is {high + 1}."),
                       (f"What number comes before {high}?", f"The number before {high} is {high - 1}.")])
