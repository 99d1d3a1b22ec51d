"""What the model is to know by heart: tables of facts, and the ways to ask for them.

families() returns {name: (keys, phrasings)}: each key is a dict of slots that names one
fact; each phrasing is (question, answer). A pair (fact, phrasing) belongs either to the
training text or to the held-out text, so the held-out text asks known things in words
that this fact was never asked in.
"""

CAPITALS = """France Paris|Germany Berlin|Italy Rome|Spain Madrid|Portugal Lisbon|England London|Ireland Dublin|
Norway Oslo|Sweden Stockholm|Denmark Copenhagen|Finland Helsinki|Poland Warsaw|Austria Vienna|Switzerland Bern|
Hungary Budapest|Greece Athens|Turkey Ankara|Russia Moscow|Ukraine Kyiv|Egypt Cairo|Kenya Nairobi|Nigeria Abuja|
Morocco Rabat|Ghana Accra|India Delhi|China Beijing|Japan Tokyo|Thailand Bangkok|Vietnam Hanoi|Indonesia Jakarta|
Australia Canberra|Canada Ottawa|Mexico Mexico_City|Cuba Havana|Peru Lima|Chile Santiago|Argentina Buenos_Aires|
Brazil Brasilia|Colombia Bogota|Belgium Brussels|Iceland Reykjavik|Romania Bucharest|Bulgaria Sofia|Iran Tehran|
Iraq Baghdad|Nepal Kathmandu|Scotland Edinburgh|Wales Cardiff"""

# animal: sound, young, home, legs, what it eats
ANIMALS = """cow moo calf barn four grass|dog woof puppy kennel four meat|cat meow kitten house four mice|
sheep baa lamb barn four grass|pig oink piglet sty four roots|horse neigh foal stable four hay|
duck quack duckling pond two bread|hen cluck chick henhouse two seeds|goat bleat kid barn four leaves|
lion roar cub savanna four meat|bear growl cub den four honey|owl hoot owlet tree two mice|
frog croak tadpole pond four flies|bee buzz larva hive six nectar|mouse squeak pup hole four cheese|
snake hiss snakelet nest no mice|wolf howl pup den four meat|elephant trumpet calf savanna four leaves|
crow caw chick nest two seeds|donkey bray foal stable four hay|spider - spiderling web eight flies|
ant - larva anthill six seeds|rabbit - bunny burrow four carrots|fox - cub den four mice|
swan - cygnet lake two plants|deer - fawn forest four grass|fish - fry water no plants|
whale - calf sea no fish|penguin - chick ice two fish|kangaroo - joey grassland two grass"""

OPPOSITES = """big small|hot cold|day night|up down|fast slow|old young|happy sad|light dark|wet dry|hard soft|
long short|high low|open closed|early late|full empty|good bad|clean dirty|loud quiet|rich poor|strong weak|
left right|inside outside|near far|thick thin|heavy light|sweet sour|true false|first last|brave afraid|tall short|
begin end|push pull|win lose|buy sell|give take|love hate|laugh cry|ask answer|remember forget|north south|east west"""

COLOURS = """the sky blue|grass green|snow white|a lemon yellow|a banana yellow|blood red|coal black|a carrot orange|
a tomato red|a leaf green|milk white|chocolate brown|the sun yellow|the night black|a strawberry red|a plum purple|
a frog green|a flamingo pink|a crow black|a cloud white|an orange orange|a tree trunk brown"""

SHAPES = """triangle three|square four|rectangle four|pentagon five|hexagon six|octagon eight"""
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November December").split()
SEASONS = [("spring", "the flowers begin to bloom"), ("summer", "it is warm and the days are long"),
           ("autumn", "the leaves fall from the trees"), ("winter", "it is cold and snow falls")]
HOW_MANY = """days a_week seven|months a_year twelve|hours a_day twenty-four|minutes an_hour sixty|
seconds a_minute sixty|seasons a_year four|wheels a_car four|wheels a_bicycle two|fingers a_hand five|
eyes a_face two|letters the_alphabet twenty-six|days a_year 365|weeks a_year fifty-two|eggs a_dozen twelve|
strings a_violin four|legs a_table four|metres a_kilometre one_thousand|cents a_euro one_hundred"""
PEOPLE = """baker bread bakes|teacher children teaches|farmer crops grows|doctor the_sick heals|tailor clothes makes|
fisherman fish catches|painter pictures paints|writer books writes|cook meals cooks|gardener plants cares_for|
carpenter furniture builds|musician music plays|pilot planes flies|shepherd sheep looks_after|dentist teeth mends|
postman letters brings|librarian books looks_after|miller flour grinds"""
SENSES = """eyes see|ears hear|nose smell|tongue taste|hands touch|legs walk|teeth chew"""
SCIENCE = [("What is ice made of?", "Ice is frozen water."), ("What is steam?", "Steam is water that has become a gas."),
           ("What do plants need to grow?", "Plants need water, light and air."),
           ("What does the sun give us?", "The sun gives us light and warmth."),
           ("What goes around the Earth?", "The Moon goes around the Earth."),
           ("What does the Earth go around?", "The Earth goes around the Sun."),
           ("Where does the sun rise?", "The sun rises in the east."), ("Where does the sun set?", "The sun sets in the west."),
           ("What do bees make?", "Bees make honey."), ("Where does milk come from?", "Milk comes from cows."),
           ("Where does wool come from?", "Wool comes from sheep."), ("Where do eggs come from?", "Eggs come from hens."),
           ("What is bread made of?", "Bread is made of flour, water and salt."), ("What is paper made of?", "Paper is made of wood."),
           ("What is cheese made of?", "Cheese is made of milk."), ("What is glass made of?", "Glass is made of sand."),
           ("When does water freeze?", "Water freezes at zero degrees Celsius."),
           ("When does water boil?", "Water boils at one hundred degrees Celsius."),
           ("What is the largest animal?", "The largest animal is the blue whale."),
           ("What is the tallest animal?", "The tallest animal is the giraffe."),
           ("What is the fastest land animal?", "The fastest land animal is the cheetah."),
           ("What is the largest ocean?", "The largest ocean is the Pacific Ocean."),
           ("What is the highest mountain?", "The highest mountain is Mount Everest."),
           ("Why do we see a rainbow?", "We see a rainbow when the sun shines through rain."),
           ("Why do birds fly south in autumn?", "They fly south because it is warmer there."),
           ("Why do we sleep?", "We sleep so that body and mind can rest."),
           ("Which planet do we live on?", "We live on the Earth."), ("Which star is nearest to us?", "The nearest star is the Sun.")]
# A plain question can be put more politely or more curiously; the answer stays.
FRAMES = ["{q}", "{q}", "Please tell me: {ql}", "I have a question. {q}", "Do you know this? {q}", "Can you tell me? {q}"]


def rows(table, *names):
    """'France Paris|...' -> [{'a': 'France', 'b': 'Paris'}, ...]; '_' stands for a blank."""
    out = []
    for row in table.replace("\n", "").split("|"):
        fields = row.split()
        if len(fields) > len(names):  # the first column may hold several words
            fields = [" ".join(fields[:len(fields) - len(names) + 1])] + fields[len(fields) - len(names) + 1:]
        out.append({n: f.replace("_", " ") for n, f in zip(names, fields)})
    return out


def _cycle(names, next_name, last_name):
    return [{"a": d, next_name: names[(i + 1) % len(names)], last_name: names[i - 1]} for i, d in enumerate(names)]


def families():
    animals = rows(ANIMALS, "a", "sound", "young", "home", "legs", "food")
    opposites = rows(OPPOSITES, "a", "b")
    seen = {o["a"] for o in opposites}
    opposites += [{"a": o["b"], "b": o["a"]} for o in opposites if o["b"] not in seen and o["b"] != "light"
                  and o["b"] != "short"]
    return {
        "capital": (rows(CAPITALS, "a", "b"), [(q, "The capital of {a} is {b}.") for q in (
            "What is the capital of {a}?", "Which city is the capital of {a}?", "Name the capital of {a}.",
            "Tell me the capital of {a}.", "Do you know the capital of {a}?", "What is {a}'s capital?",
            "{a}: what is its capital?", "I want to know the capital of {a}.")]
            + [("In which country is {b}?", "{b} is in {a}."), ("Where is {b}?", "{b} is in {a}."),
               ("{b} is the capital of which country?", "{b} is the capital of {a}.")]),
        "sound": ([a for a in animals if a["sound"] != "-"], [(q, "A {a} says {sound}.") for q in (
            "What sound does a {a} make?", "What does a {a} say?", "What does the {a} say?", "How does a {a} sound?",
            "Which sound does the {a} make?", "Tell me the sound of a {a}.")]
            + [("Which animal says {sound}?", "The {a} says {sound}."), ("Who says {sound}?", "The {a} says {sound}.")]),
        "young": (animals, [(q, "A young {a} is called a {young}.") for q in (
            "What is a young {a} called?", "What is a baby {a} called?", "What do you call a young {a}?",
            "What do you call a baby {a}?", "What is the name for a young {a}?", "How do we call the child of a {a}?")]),
        "home": (animals, [("Where does a {a} live?", "A {a} lives in a {home}."), ("Where do you find a {a}?", "A {a} lives in a {home}."),
                           ("What is the home of a {a}?", "A {a} lives in a {home}."), ("Tell me where a {a} lives.", "A {a} lives in a {home}."),
                           ("In what place does a {a} live?", "A {a} lives in a {home}.")]),
        "legs": (animals, [("How many legs does a {a} have?", "A {a} has {legs} legs."), ("How many legs has a {a}?", "A {a} has {legs} legs."),
                           ("Count the legs of a {a}.", "A {a} has {legs} legs."), ("A {a} has how many legs?", "A {a} has {legs} legs."),
                           ("Tell me how many legs a {a} has.", "A {a} has {legs} legs.")]),
        "food": (animals, [("What does a {a} eat?", "A {a} eats {food}."), ("What does a {a} like to eat?", "A {a} likes to eat {food}."),
                           ("What is the food of a {a}?", "A {a} eats {food}."), ("What should I feed a {a}?", "A {a} eats {food}."),
                           ("Tell me what a {a} eats.", "A {a} eats {food}.")]),
        "opposite": (opposites, [(q, "The opposite of {a} is {b}.") for q in (
            "What is the opposite of {a}?", "What is the opposite of \"{a}\"?", "Tell me the opposite of {a}.", "Opposite of {a}?",
            "Which word is the opposite of {a}?", "Give me the opposite of {a}.", "Do you know the opposite of {a}?")]),
        "colour": (rows(COLOURS, "a", "b"), [(q, "The colour of {a} is {b}.") for q in (
            "What colour is {a}?", "What is the colour of {a}?", "Which colour does {a} have?", "What color is {a}?",
            "Tell me the colour of {a}.", "Do you know the colour of {a}?")]),
        "sides": (rows(SHAPES, "a", "b"), [(q, "A {a} has {b} sides.") for q in (
            "How many sides does a {a} have?", "How many sides has a {a}?", "A {a} has how many sides?",
            "Count the sides of a {a}.", "Tell me how many sides a {a} has.", "What is the number of sides of a {a}?")]
            + [("How many corners does a {a} have?", "A {a} has {b} corners."), ("Count the corners of a {a}.", "A {a} has {b} corners.")]),
        "day": (_cycle(DAYS, "b", "z"), [(q, "The day after {a} is {b}.") for q in (
            "What day comes after {a}?", "Which day comes after {a}?", "What comes after {a}?", "Which day follows {a}?", "What is the day after {a}?")]
            + [(q, "The day before {a} is {z}.") for q in ("What day comes before {a}?", "Which day comes before {a}?",
                                                          "What comes before {a}?", "What is the day before {a}?")]
            + [("If today is {a}, what is tomorrow?", "If today is {a}, tomorrow is {b}."),
               ("Today is {a}. What day is tomorrow?", "If today is {a}, tomorrow is {b}."),
               ("If today is {a}, what was yesterday?", "If today is {a}, yesterday was {z}."),
               ("Today is {a}. What day was yesterday?", "If today is {a}, yesterday was {z}.")]),
        "month": (_cycle(MONTHS, "b", "z"), [(q, "The month after {a} is {b}.") for q in (
            "What month comes after {a}?", "Which month comes after {a}?", "What comes after {a}?", "Which month follows {a}?", "What is the month after {a}?")]
            + [(q, "The month before {a} is {z}.") for q in ("What month comes before {a}?", "Which month comes before {a}?",
                                                            "What comes before {a}?", "What is the month before {a}?")]),
        "season": ([{"a": a, "b": b} for a, b in SEASONS], [(q, "In {a}, {b}.") for q in (
            "What happens in {a}?", "What is {a} like?", "Tell me about {a}.", "What do you know about {a}?", "How is it in {a}?")]
            + [("In which season is it so that {b}?", "That is {a}."), ("When is it that {b}?", "That is {a}.")]),
        "many": (rows(HOW_MANY, "a", "w", "b"), [(q, "There are {b} {a} in {w}.") for q in (
            "How many {a} are in {w}?", "How many {a} are there in {w}?", "How many {a} does {w} have?", "Tell me how many {a} {w} has.",
            "What is the number of {a} in {w}?")]),
        "work": (rows(PEOPLE, "a", "what", "does"), [(q, "A {a} {does} {what}.") for q in (
            "What does a {a} do?", "What is the work of a {a}?", "What is a {a}?", "Tell me about the work of a {a}.", "What does the {a} do all day?")]
            + [("Who {does} {what}?", "A {a} {does} {what}.")]),
        "sense": (rows(SENSES, "a", "b"), [(q, "We {b} with our {a}.") for q in (
            "What do we {b} with?", "With what do we {b}?", "What do we use to {b}?")]
            + [("What do we do with our {a}?", "With our {a} we {b}."), ("What are our {a} for?", "With our {a} we {b}.")]),
        "science": ([{"q": q, "ql": q[0].lower() + q[1:], "ans": a} for q, a in SCIENCE], [(f, "{ans}") for f in FRAMES]),
    }
