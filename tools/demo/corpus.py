"""The text that the demo model learns from and is tested on, from a seed.

    python3 corpus.py train 2000000 > train.txt      about so many bytes of training text
    python3 corpus.py heldout 100000 > heldout.txt   text that shares no tested combination with it

Documents are stories and sums as raw text, and conversations in ChatML; each ends in
<|endoftext|>. Which side of the split a combination is on (hero, place and object of a
story; the numbers of a sum; a fact and the phrasing it is asked in) follows from a hash
of the combination alone, so the two texts can be made apart and never share one.
"""
import hashlib
import random
import sys

from facts import FRAMES, families
from stories import make_short_scene, make_story
from sums import ask_count, ask_sum, make_sum_lines

END = "<|endoftext|>"
HELD_OUT_SHARE = 12  # one combination in so many is kept for the held-out text

SELF = [
    (["Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Introduce yourself."],
     "I am the demo model of Redline, a very small language model."),
    (["What can you do?", "How can you help me?", "What do you know?", "Can you help me?"],
     "I can tell simple stories, answer easy questions and do small sums."),
    (["Who made you?", "Where do you come from?", "How were you made?"],
     "I was trained on simple text that the Redline project makes itself."),
    (["Are you clever?", "Do you know everything?", "Are you always right?", "Do you make mistakes?"],
     "No, I am very small and I make many mistakes."),
    (["How big are you?", "How many parameters do you have?"], "I have only about four million parameters."),
]
POLITE = [
    (["Hello!", "Hi!", "Hello there!", "Good morning!", "Good day!", "Hi there!"], ["Hello! How can I help you?"]),
    (["How are you?", "How do you do?"], ["I am fine, thank you."]),
    (["Thank you!", "Thanks!", "Thank you very much.", "Thanks a lot!"], ["You are welcome!"]),
    (["Goodbye!", "Bye!", "See you!", "Good night!"], ["Goodbye! See you soon."]),
]
TELL = ["Tell me a story.", "Please tell me a story.", "Can you tell me a story?", "I want to hear a story."]
TELL_ABOUT = ["Tell me a story about {}.", "Please tell me a story about {}.", "Can you tell me a story about {}?"]


class Split:
    """Which combinations may be used: everything outside the held-out twelfth, or only it."""

    def __init__(self, held_out):
        self.held_out = held_out

    def allows(self, *combination):
        digest = hashlib.sha256("|".join(map(str, combination)).encode()).digest()
        return (digest[0] % HELD_OUT_SHARE == 0) == self.held_out


def turn(question, answer):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"


class Writer:
    def __init__(self, seed, held_out):
        self.rng = random.Random(seed)
        self.split = Split(held_out)
        self.facts = families()
        self.fact_names = list(self.facts)
        self.weights = [len(self.facts[n][0]) ** 0.5 for n in self.fact_names]

    def ask_fact(self):
        while True:
            name = self.rng.choices(self.fact_names, self.weights)[0]
            keys, phrasings = self.facts[name]
            i, j = self.rng.randrange(len(keys)), self.rng.randrange(len(phrasings))
            if not self.split.allows("fact", name, i, j):
                continue
            question, answer = (text.format_map(keys[i]) for text in phrasings[j])
            if name != "science" and self.rng.random() < 0.15:
                frame = self.rng.choice(FRAMES)
                question = frame.format(q=question, ql=question[0].lower() + question[1:])
            return question, answer

    def ask_scene(self):
        """A scene in the question, or a story, and one thing that follows from it."""
        if self.rng.random() < 0.6:
            text, questions = make_short_scene(self.rng, self.split)
        else:
            text, _, questions = make_story(self.rng, self.split, long_share=0)
        question, answer = self.rng.choice(questions)
        return f"{text}\n\n{question}", answer

    def ask_story(self):
        text, slots, _ = make_story(self.rng, self.split, long_share=0.05)
        if self.rng.random() < 0.4:
            return self.rng.choice(TELL), text
        subject = self.rng.choice([slots["X"], slots["X"] + " and " + slots["Y"], "a " + slots["Xkind"]])
        return self.rng.choice(TELL_ABOUT).format(subject), text

    def ask_small(self):
        questions, answers = self.rng.choice(SELF + POLITE)
        answer = answers if isinstance(answers, str) else self.rng.choice(answers)
        return self.rng.choice(questions), answer

    def conversation(self):
        kinds = [(self.ask_fact, 10), (lambda: ask_sum(self.rng, self.split), 7), (self.ask_scene, 5),
                 (self.ask_story, 2), (self.ask_small, 2), (lambda: ask_count(self.rng, self.split), 1)]
        n_turns = self.rng.choice([1, 1, 2, 3, 4])
        chosen = self.rng.choices([k for k, _ in kinds], [w for _, w in kinds], k=n_turns)
        return "".join(turn(*ask()) for ask in chosen)

    def document(self):
        x = self.rng.random()
        if x < 0.30:
            return make_story(self.rng, self.split)[0] + END
        if x < 0.36:
            return make_sum_lines(self.rng, self.split) + END
        return self.conversation() + END

    def text(self, n_bytes):
        parts, size = [], 0
        while size < n_bytes:
            parts.append(self.document())
            size += len(parts[-1])
        return "".join(parts)


TRAIN_SEED, HELD_OUT_SEED = 1, 2


def make(kind, n_bytes):
    held_out = kind == "heldout"
    return Writer(HELD_OUT_SEED if held_out else TRAIN_SEED, held_out).text(n_bytes)


if __name__ == "__main__":
    sys.stdout.write(make(sys.argv[1], int(sys.argv[2])))
