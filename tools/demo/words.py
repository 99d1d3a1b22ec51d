"""Word lists and the small template language that all generated text is made of.

A template is a string with two devices, both expanded here:

    [a|b|c]   one alternative, chosen at random; alternatives may nest
    {slot}    a value that stays the same throughout one document

Keeping the values in slots is what makes a story consistent: the kite that is
lost is the kite that is found, and "he" stays "he".
"""
import re

BOYS = ["Tom", "Ben", "Max", "Leo", "Sam", "Finn", "Noah", "Otto", "Jack", "Hugo",
        "Luis", "Omar", "Theo", "Adam", "Ravi"]
GIRLS = ["Mia", "Lily", "Anna", "Zoe", "Emma", "Nora", "Ruby", "Ella", "Rosa", "Ida",
         "Maya", "Lucy", "Clara", "Nina", "Amy"]
# Animal heroes: name, kind, pronoun.
HEROES = [("Pip", "rabbit", "he"), ("Hazel", "squirrel", "she"), ("Bruno", "bear", "he"),
          ("Poppy", "mouse", "she"), ("Rusty", "fox", "he"), ("Willow", "deer", "she"),
          ("Dot", "hen", "she"), ("Barney", "dog", "he"), ("Luna", "cat", "she"),
          ("Quill", "hedgehog", "he"), ("Olive", "owl", "she"), ("Monty", "frog", "he")]
ELDERS = [("Mom", "she"), ("Dad", "he"), ("Grandma", "she"), ("Grandpa", "he")]

PLACES = [("forest", "in"), ("garden", "in"), ("park", "in"), ("meadow", "in"), ("barn", "in"),
          ("village", "in"), ("market", "at"), ("beach", "at"), ("river", "by"), ("lake", "by"),
          ("pond", "by"), ("old mill", "at"), ("bridge", "at"), ("hill", "on"), ("playground", "at"),
          ("fountain", "by"), ("castle", "at"), ("orchard", "in"), ("farm", "on"), ("waterfall", "by")]
OBJECTS = ["ball", "kite", "book", "hat", "scarf", "drum", "lantern", "basket", "key", "bell",
           "doll", "whistle", "shell", "ring", "cup", "spoon", "ribbon", "button", "map",
           "flute", "blanket", "pencil", "wagon", "feather"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "orange", "pink", "purple", "brown"]
SMALL_ANIMALS = ["kitten", "puppy", "duckling", "lamb", "bird", "turtle", "rabbit", "hedgehog",
                 "squirrel", "butterfly", "mouse", "owl"]
FRUITS = ["apples", "pears", "plums", "cherries", "peaches", "berries", "carrots", "beans",
          "pumpkins", "tomatoes"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "eleven", "twelve"]

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")
_SENTENCE = re.compile(r'(^|\n|[.!?] |\." )([a-z])')


def an(noun):
    """'apple' -> 'an apple'."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def expand(template, rng, slots=None):
    """Choose every [a|b], innermost first, then fill the slots, then mend articles and capitals."""
    while True:
        text, n = _CHOICE.subn(lambda m: rng.choice(m.group(1).split("|")), template)
        if n == 0:
            break
        template = text
    if slots:
        template = template.format_map(slots)
    return _SENTENCE.sub(lambda m: m.group(1) + m.group(2).upper(), template)


def person_slots(prefix, name, pronoun):
    """Slots for a character: {X}, {Xhe}, {Xhis}, {Xhim} and the capitalised {XHe}, {XHis}."""
    his, him = {"he": ("his", "him"), "she": ("her", "her")}[pronoun]
    return {prefix: name, prefix + "he": pronoun, prefix + "his": his, prefix + "him": him,
            prefix + "He": pronoun.capitalize(), prefix + "His": his.capitalize()}
