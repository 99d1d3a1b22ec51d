"""Stories: draws the slots, joins introduction, plot and ending, and knows the answers."""
from plots import PLOTS
from words import (BOYS, COLOURS, ELDERS, FRUITS, GIRLS, HEROES, NUMBERS, OBJECTS, PLACES,
                   SMALL_ANIMALS, an, expand, person_slots)

FIRST_DAYS = "[One day|One day|One morning|One sunny morning|One afternoon|One Sunday]"
LATER_DAYS = "[The next day|A week later|Some days later|The next morning]"
TRAITS = ["kind", "brave", "curious", "clever", "quiet", "cheerful", "careful", "shy", "funny"]
ENDINGS = ["", "", "", "The end.", "And they all lived happily.",
           "{P} was proud of {Xhim}.", "That night {X} slept very well.",
           "{X} never forgot that day."]


def _character(rng, animals):
    """(name, kind, pronoun); a story has either animals or children as its heroes."""
    if animals:
        return rng.choice(HEROES)
    if rng.random() < 0.5:
        return rng.choice(BOYS), "boy", "he"
    return rng.choice(GIRLS), "girl", "she"


def _cast(rng, split):
    """Slots that last for the whole story, redrawn until the combination of hero, place and
    object belongs to the wanted half of the split."""
    while True:
        animals = rng.random() < 0.3
        x = _character(rng, animals)
        y = _character(rng, animals)
        if x[0] == y[0]:
            continue
        p = rng.choice(ELDERS)
        slots = {}
        slots.update(person_slots("X", x[0], x[2]))
        slots.update(person_slots("Y", y[0], y[2]))
        slots.update(person_slots("P", *p))
        slots["Xkind"], slots["Ykind"], slots["trait"] = x[1], y[1], rng.choice(TRAITS)
        slots.update(_things(rng))
        if split.allows("story", slots["X"], slots["place"], slots["o"]):
            return slots


def _things(rng):
    places = rng.sample(PLACES, 3)
    slots = {}
    for suffix, (noun, preposition) in zip(("", "2", "3"), places):
        slots["place" + suffix] = "the " + noun
        slots["at" + suffix] = f"{preposition} the {noun}"
        slots["at" + suffix + "_cap"] = f"{preposition.capitalize()} the {noun}"
    (o, o2), (c, c2) = rng.sample(OBJECTS, 2), rng.sample(COLOURS, 2)
    slots.update(o=o, c=c, co=f"{c} {o}", o2=o2, c2=c2, co2=f"{c2} {o2}")
    slots["a_co"] = an(slots["co"])
    slots["A"] = rng.choice(SMALL_ANIMALS)
    slots["nf"] = rng.choice(FRUITS)
    n, m = rng.randint(2, 6), rng.randint(2, 6)
    slots.update(n=NUMBERS[n], m=NUMBERS[m], s=NUMBERS[n + m])
    return slots


def _introduction(rng, slots):
    once = rng.choice(["Once upon a time, there was", "Once upon a time, there was",
                       "Once upon a time there lived", "Once there was", "There was once", "Long ago, there lived"])
    home = "" if rng.random() < 0.5 else " who lived [in a small house|in a little village|near {place}|close to {place2}]"
    first = once + " a [little|little|small|young|{trait}] {Xkind} named {X}" + home + "."
    second = rng.choice([
        "{X} [loved|liked] to play with {Xhis} friend {Y}.",
        "{XHis} best friend was a {Ykind} named {Y}.",
        "{X} had a good friend, and the name of the friend was {Y}.",
        "{X} was very {trait}. {XHis} friend {Y} lived next door."])
    return first + " " + second


def _own_slots(rng, plot):
    own = {}
    for key, values in plot.get("own", {}).items():
        value = rng.choice(values)
        if "," in key:
            own.update(zip(key.split(","), value))
        else:
            own[key] = value
    return own


def make_story(rng, split, plot_name=None, long_share=0.15):
    """Returns (text, slots, questions); questions is a list of (question, answer)."""
    slots = _cast(rng, split)
    names = [plot_name or rng.choice(list(PLOTS))]
    if rng.random() < long_share:
        names.append(rng.choice([n for n in PLOTS if n != names[0]]))
    paragraphs = [expand(_introduction(rng, slots), rng, slots)]
    questions = []
    for i, name in enumerate(names):
        plot = PLOTS[name]
        if i > 0:  # the second adventure of the same friends: new things, same people
            slots.update(_things(rng))
        slots.update(_own_slots(rng, plot))
        slots["day"] = expand(FIRST_DAYS if i == 0 else LATER_DAYS, rng)
        paragraphs += [expand(p, rng, slots) for p in plot["parts"]]
        if i == 0 and len(names) == 1:
            questions = [(expand(q, rng, slots), expand(a, rng, slots)) for q, a in plot["ask"]]
    ending = rng.choice(ENDINGS)
    if ending:
        paragraphs[-1] += " " + expand(ending, rng, slots)
    if slots["P"] and len(names) == 1:
        questions.append((f"What is the name of the friend of {slots['X']}?",
                          f"The friend of {slots['X']} is {slots['Y']}."))
    return "\n\n".join(paragraphs), slots, questions


def make_short_scene(rng, split):
    """Two to four sentences about who has what and who is where: pure state tracking."""
    s = _cast(rng, split)
    if rng.random() < 0.5:  # who is named first in the cast must not say who gives
        s["X"], s["Y"] = s["Y"], s["X"]
    if rng.random() < 0.5:
        text = ("{X} took the {co}. {X} went to {place}. {Y} went to {place2}."
                " Then {X} went to {place2} and gave the {o} to {Y}.")
        ask = [("Who has the {o}?", "{Y} has the {o}."),
               ("Where is the {o}?", "The {o} is {at2}."),
               ("Who took the {o} first?", "{X} took the {o} first.")]
    else:
        text = "{X} has a {co}. {Y} has a {co2}. {X} is {at}. {Y} is {at2}."
        ask = [("Where is {X}?", "{X} is {at}."),
               ("Where is {Y}?", "{Y} is {at2}."),
               ("What does {X} have?", "{X} has a {co}."),
               ("Who has the {o2}?", "{Y} has the {o2}."),
               ("What colour is the {o}?", "The {o} is {c}.")]
    return expand(text, rng, s), [(expand(q, rng, s), expand(a, rng, s)) for q, a in ask]
