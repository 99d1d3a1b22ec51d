"""The plots of the stories: pure data, read by stories.py.

A plot has paragraphs in the template language of words.py and questions about
the story with the answers that follow from it. Slots common to all plots:

    X hero, Y friend, P grown-up (each with he/his/him forms), day: how the plot begins,
    o object, co colour + object, place/at, place2/at2, place3/at3, A a small animal,
    n/m/s: number words with s = n + m, nf a fruit or vegetable in the plural

A plot may add choices of its own under "own": slot -> list of alternatives.
A tuple alternative fills the slots named by the comma-separated key together.
"""

PLOTS = {
    "lost": {
        "parts": [
            "{day}, {X} took {Xhis} {co} to {place}. {XHe} [played with it all morning|showed it to everyone|carried it everywhere]. "
            "But when it was time to go home, the {o} was gone! {X} [felt very sad|began to cry|did not know what to do].",
            "\"What is wrong?\" asked {Y}. \"I [lost my {o}|cannot find my {co}],\" said {X}. "
            "\"[Do not worry|Do not cry|Do not be sad],\" said {Y}. \"[We will look for it together|I will help you look].\"",
            "First they looked {at2}, but the {o} was not there. Then they looked {at3}. "
            "[Behind a big stone|Under a bush|Under an old bench|Beside a tall tree], {Y} saw something {c}. It was the {co}!",
            "{X} [was so happy|jumped for joy|laughed with joy]. \"Thank you, {Y}!\" {Xhe} said, and gave {Yhim} a [big|warm] hug. "
            "[From that day on, {X} took good care of {Xhis} {o}.|Then they walked home together with the {co}.]"],
        "ask": [("What did {X} lose?", "{X} lost {Xhis} {co}."),
                ("Who helped {X}?", "{Y} helped {X}."),
                ("What colour was the {o}?", "The {o} was {c}."),
                ("Where did they find the {o}?", "They found it {at3}."),
                ("Who found the {o}?", "{Y} found the {o}.")]},
    "rescue": {
        "own": {"stuck,tool,way": [
            ("stuck in a deep hole", "a long rope", "lowered it into the hole"),
            ("stuck in the mud", "a wide board", "laid it over the mud"),
            ("up in a tall tree and could not come down", "a wooden ladder", "leaned it against the tree"),
            ("caught in a thorny bush", "a pair of gloves", "pulled the thorns apart"),
            ("on a small rock in the water and could not swim", "a little boat", "rowed to the rock")]},
        "parts": [
            "{day}, {X} was walking {at} when {Xhe} heard a [small|sad|tiny] cry. It was a little {A}. "
            "The {A} was {stuck}.",
            "\"[Please help me|Help|Oh, please help]!\" [cried|called] the {A}. {X} [thought for a moment|looked around|thought hard]. "
            "Then {Xhe} ran to {Y} and asked for {tool}. \"[Of course|Yes|Take it]!\" said {Y}. \"I will come with you.\"",
            "They hurried back with {tool} and {way}. [Slowly and carefully|Very gently|Step by step], they brought the {A} to safety.",
            "\"Thank you, {X}! Thank you, {Y}!\" said the {A}. [The {A} was safe again.|The {A} was not afraid any more.] "
            "[From then on, the three of them were good friends.|After that, they met {at} every day.]"],
        "ask": [("Who was in trouble?", "A little {A} was in trouble."),
                ("Where was {X} walking?", "{X} was walking {at}."),
                ("What did {X} ask for?", "{X} asked for {tool}."),
                ("Who came to help {X}?", "{Y} came to help {X}."),
                ("Why did the {A} cry?", "The {A} was {stuck}.")]},
    "bake": {
        "own": {"dish": ["a cake", "a pie", "some bread", "some cookies", "a pot of soup", "some pancakes"],
                "i1": ["flour", "butter"], "i2": ["milk", "salt", "water"], "i3": ["eggs", "honey", "sugar"]},
        "parts": [
            "{day}, {X} wanted to make {dish} for {P}. {XHe} put {i1} and {i2} on the table. "
            "\"Oh no,\" said {X}. \"We have no {i3}!\"",
            "So {X} [went|walked|ran] to {place} to look for {i3}. There {Xhe} met {Y}. "
            "\"I have [plenty of|enough|some] {i3},\" said {Y}. \"You may have some, if I may help you.\" \"[Gladly|Yes, please]!\" said {X}.",
            "Together they mixed the {i1}, the {i2} and the {i3}. [Soon the whole house smelled wonderful.|They stirred and sang and laughed.] "
            "When it was ready, {X} gave it to {P}.",
            "\"[This is the best I have ever eaten|How good this is|It tastes wonderful]!\" said {P}. "
            "{X} and {Y} [smiled at each other|were very proud]. Then they all sat down and ate together."],
        "ask": [("What did {X} want to make?", "{X} wanted to make {dish}."),
                ("What was missing?", "They had no {i3}."),
                ("Who had {i3}?", "{Y} had {i3}."),
                ("Who was it for?", "It was for {P}."),
                ("Where did {X} meet {Y}?", "{X} met {Y} at {place}.")]},
    "weather": {
        "own": {"plan,bad": [("have a picnic", "rain"), ("fly a kite", "rain"), ("play football", "thunder"),
                             ("pick flowers", "rain"), ("catch butterflies", "snow")],
                "inside": ["built a tent from blankets", "played cards", "drew pictures", "sang songs",
                           "read a book of tales", "made paper boats"]},
        "parts": [
            "{day}, {X} and {Y} wanted to {plan} {at}. But when they [got there|arrived], [dark clouds|big grey clouds] came over the sky. "
            "Soon it began to {bad}.",
            "\"Now we cannot {plan},\" said {X} sadly. \"[Come with me|I have an idea|Never mind],\" said {Y}. \"We can have fun inside.\"",
            "They ran to the house of {Y} and {inside}. [They forgot all about the {bad}.|They laughed so much that they did not hear the {bad}.] "
            "{P} brought them warm milk.",
            "When they looked out of the window, the sun was shining again. \"Tomorrow we will {plan},\" said {Y}. "
            "\"[But today was a good day too|I liked today as well],\" said {X}."],
        "ask": [("What did {X} and {Y} want to do?", "They wanted to {plan}."),
                ("Why could they not {plan}?", "It began to {bad}."),
                ("What did they do inside?", "They {inside}."),
                ("Who brought warm milk?", "{P} brought warm milk.")]},
    "share": {
        "parts": [
            "{day}, {X} and {Y} found {a_co} {at}. \"It is mine!\" said {X}. \"No, it is mine!\" said {Y}. "
            "They both pulled at the {o}, and [nobody had any fun|soon they were both angry].",
            "{P} heard them and came. \"Why are you [fighting|shouting]?\" {Phe} asked. \"We both want the {co},\" said {Y}. "
            "\"Then [take turns|share it],\" said {P}. \"{X} may have it in the morning and {Y} in the afternoon.\"",
            "So {X} had the {o} in the morning, and {Y} had it in the afternoon. [It was much more fun that way.|That worked very well.] "
            "\"I am sorry that I shouted,\" said {X}. \"I am sorry too,\" said {Y}.",
            "[After that, they shared everything.|And from that day on, they always shared.]"],
        "ask": [("What did {X} and {Y} find?", "They found {a_co}."),
                ("Where did they find the {o}?", "They found it {at}."),
                ("Who told them to share?", "{P} told them to share."),
                ("Who had the {o} in the morning?", "{X} had it in the morning."),
                ("Who had the {o} in the afternoon?", "{Y} had it in the afternoon.")]},
    "noise": {
        "own": {"noise,verb": [("a scratching noise", "scratching"), ("a knocking noise", "knocking"),
                               ("a strange whistling", "whistling"), ("a soft rustling", "rustling")],
                "spot": ["under the bed", "behind the door", "outside the window", "in the kitchen", "on the roof"]},
        "parts": [
            "{day}, when it was dark, {X} heard {noise} {spot}. {XHis} heart [beat fast|went thump, thump]. "
            "\"[Who is there|What is that]?\" {Xhe} whispered. Nobody answered.",
            "{X} [was afraid|was scared] and called {P}. \"[Let us look together|Take my hand],\" said {P}, and took the {co2}. "
            "They went [slowly|very quietly] to look.",
            "And what did they see {spot}? It was only a little {A}! The {A} was [cold and hungry|lost|looking for its mother]. "
            "\"[You are not scary at all|So it was you]!\" said {X}, and laughed.",
            "{X} gave the {A} some [water and bread|milk|food]. [Then {Xhe} went to bed and slept well.|That night {Xhe} was not afraid any more.]"],
        "ask": [("What did {X} hear?", "{X} heard {noise}."),
                ("What made the noise?", "A little {A} made the noise."),
                ("Where was the {A}?", "The {A} was {spot}."),
                ("Who went with {X}?", "{P} went with {X}.")]},
    "learn": {
        "own": {"skill,bad1,bad2,tip,where": [
            ("swim", "swallowed some water", "sank like a stone", "breathe slowly and kick with your legs", "the lake"),
            ("ride a bicycle", "fell into the grass", "rolled into a bush", "look ahead and keep going", "the park"),
            ("whistle", "made no sound at all", "only blew some air", "make your lips round and blow softly", "the meadow"),
            ("skate", "fell on the ice", "slid into the snow", "bend your knees a little", "the frozen pond"),
            ("paint", "made a big mess", "spilled the water", "use only a little paint", "the barn"),
            ("climb", "slipped down", "scratched a knee", "hold on with both hands", "the old oak tree")]},
        "parts": [
            "{X} wanted to learn to {skill}. {day}, {Xhe} went to {where} to try. The first time, {X} {bad1}. "
            "The second time, {Xhe} {bad2}. \"I [will never learn it|cannot do it],\" said {X}.",
            "{Y} had seen it all. \"[Do not give up|It was hard for me too],\" said {Y}. \"You must {tip}.\"",
            "{X} [nodded|took a deep breath] and tried a third time. And this time it worked! \"I can {skill}!\" {Xhe} [shouted|called]. "
            "\"[I knew you could|You see|Well done]!\" said {Y}.",
            "[That evening {X} told {P} all about it.|Now {X} can {skill} very well, and {Xhe} teaches others.]"],
        "ask": [("What did {X} want to learn?", "{X} wanted to learn to {skill}."),
                ("Who helped {X}?", "{Y} helped {X}."),
                ("What happened the first time?", "The first time, {X} {bad1}."),
                ("What happened the second time?", "The second time, {X} {bad2}."),
                ("Where did {X} go to try?", "{X} went to {where}.")]},
    "gift": {
        "parts": [
            "It was almost the birthday of {Y}. {day}, {X} counted {Xhis} coins. {XHe} had {n} [in a jar|in a box], and {P} gave {Xhim} {m} more. "
            "Now {X} had {s} coins.",
            "{X} went to {place}. A woman there sold [many things|old and new things]. \"[How much is|What do you want for] the {co}?\" asked {X}. "
            "\"It costs {s} coins,\" said the woman. {X} [was lucky|smiled]. {XHe} paid and took the {o} home.",
            "On the birthday, {X} gave {Y} the {co}. \"[This is what I always wanted|How beautiful|Oh, how lovely]!\" said {Y}. "
            "\"Thank you, {X}!\"",
            "[{X} had no coins left, but {Xhe} was happy.|Now the jar was empty, but {X} did not mind at all.]"],
        "ask": [("Whose birthday was it?", "It was the birthday of {Y}."),
                ("What did {X} buy?", "{X} bought a {co}."),
                ("How many coins did {X} have in the end, before buying the {o}?", "{X} had {s} coins."),
                ("How much did the {o} cost?", "It cost {s} coins."),
                ("Who gave {X} more coins?", "{P} gave {X} {m} more coins.")]},
    "trade": {
        "parts": [
            "{day}, {X} found {a_co} {at}. {XHe} [picked it up|took it along] and [walked on|went on {Xhis} way].",
            "{at2_cap}, {Xhe} met {Y}. \"[What a fine|What a nice|I like your] {o}!\" said {Y}. \"Will you give it to me? You can have my {co2}.\" "
            "{X} agreed. So {Y} got the {o}, and {X} got the {o2}.",
            "Then {X} came to {place3}. There {Xhe} met a little {A}. The {A} [looked sad|was crying]. \"I wish I had a {o2},\" said the {A}. "
            "{X} [had a kind heart|did not think twice] and gave the {A} the {co2}.",
            "The {A} was [so happy|very glad] and sang a song for {X}. {X} came home with empty hands, but with [a happy heart|a song in {Xhis} head]."],
        "ask": [("What did {X} find?", "{X} found {a_co}."),
                ("Who got the {o}?", "{Y} got the {o}."),
                ("What did {Y} give to {X}?", "{Y} gave {X} a {co2}."),
                ("Who has the {o2} now?", "The {A} has the {o2} now."),
                ("Where did {X} meet the {A}?", "{X} met the {A} at {place3}.")]},
    "garden": {
        "own": {"pest": ["snails", "crows", "weeds", "hungry bugs"]},
        "parts": [
            "{day}, {P} gave {X} {n} seeds. \"[Plant them|Put them in the earth] and be patient,\" said {P}. "
            "{X} planted the {n} seeds [in the garden|behind the house] and gave them water.",
            "Every day {X} looked, but [there was nothing to see|nothing happened]. \"[Wait a little longer|Be patient],\" said {P}. "
            "One morning there were small green leaves! Then {pest} came. {X} asked {Y} for help, and together they chased the {pest} away.",
            "[In the summer|After many weeks|At last], {X} had a whole basket of {nf}. {XHe} gave half of the {nf} to {Y}, because {Y} had helped.",
            "\"[Good things take time|Now you see why we wait],\" said {P}, and [ate one of the {nf}|smiled]."],
        "ask": [("How many seeds did {X} get?", "{X} got {n} seeds."),
                ("Who gave {X} the seeds?", "{P} gave {X} the seeds."),
                ("What grew from the seeds?", "The seeds grew into {nf}."),
                ("Why did {X} give half of the {nf} to {Y}?", "Because {Y} had helped."),
                ("What came to the garden?", "The {pest} came.")]},
    "truth": {
        "own": {"thing": ["vase", "window", "plate", "lamp", "clock", "mirror"]},
        "parts": [
            "{day}, {X} was playing with {Xhis} {co} in the house. [Crash!|Bang!|Oh no!] The {o} hit the {thing}, and the {thing} broke.",
            "{Y} was there too. \"[Let us hide it|Say that the cat did it],\" said {Y}. {X} [shook {Xhis} head|thought about it]. "
            "\"No,\" {Xhe} said. \"I will tell the truth.\"",
            "{X} went to {P}. \"I broke the {thing} with my {o},\" {Xhe} said. \"I am very sorry.\" {P} was quiet for a moment. "
            "\"[Thank you for telling me|It was brave to tell me],\" said {P}. \"Next time, play outside.\"",
            "[Together they cleaned the floor.|Then {P} and {X} mended the {thing} with glue.] And {X} played with the {o} {at} from then on."],
        "ask": [("What did {X} break?", "{X} broke the {thing}."),
                ("What hit the {thing}?", "The {co} hit the {thing}."),
                ("To whom did {X} tell the truth?", "{X} told the truth to {P}."),
                ("Who wanted to hide it?", "{Y} wanted to hide it.")]},
    "walk": {
        "own": {"b1,b2,b3": [("a deer", "two swans", "an old donkey"), ("a fox", "a grey heron", "three cows"),
                             ("a hare", "a fat toad", "a black horse"), ("an eagle", "a snake", "five sheep")]},
        "parts": [
            "{day}, {X} and {Y} [went for a long walk|followed a small path]. [They took bread and cheese with them.|The air was fresh and the birds were singing.]",
            "{at_cap}, they saw {b1}. {at2_cap}, they saw {b2}. And {at3}, they saw {b3}. \"[Today is a lucky day|How many animals there are]!\" said {Y}.",
            "Then {X} stopped. \"[Where is the way home|Which way did we come]?\" {Xhe} asked. {Y} [thought for a while|closed {Yhis} eyes and thought]. "
            "\"We came from {place} to {place2}, and from {place2} to {place3},\" said {Y}. \"So we must go back to {place2} first.\"",
            "And that is what they did. They went to {place2}, and then to {place}, and before it was dark they were home. "
            "\"[You are clever|You have a good memory], {Y},\" said {X}."],
        "ask": [("What did they see {at}?", "{at_cap}, they saw {b1}."),
                ("What did they see {at2}?", "{at2_cap}, they saw {b2}."),
                ("What did they see {at3}?", "{at3_cap}, they saw {b3}."),
                ("Who knew the way home?", "{Y} knew the way home.")]},
    "race": {
        "own": {"why,lesson": [("stopped to sleep under a tree", "Slow and steady is better than fast and lazy"),
                               ("stopped to eat berries", "Finish first, and eat later"),
                               ("looked back and tripped over a root", "Look where you are going"),
                               ("took a wrong turn", "Fast feet need a good eye")]},
        "parts": [
            "{X} [was very fast|could run like the wind] and {Xhe} liked to talk about it. {day}, {Xhe} said to {Y}, "
            "\"[Let us race|I bet I can beat you] to {place}!\" \"[All right|Very well],\" said {Y}.",
            "{X} ran ahead. Soon {Xhe} could not see {Y} any more. But {at2}, {X} {why}.",
            "{Y} was slow, but {Yhe} did not stop. {YHe} came past {X} and reached {place} first. "
            "\"[I won|I am here]!\" called {Y}. {X} could hardly believe it.",
            "\"{lesson},\" said {P}. {X} [laughed|nodded] and shook the hand of {Y}. \"You won, {Y},\" {Xhe} said. \"[Well done|Good race]!\""],
        "ask": [("Who won the race?", "{Y} won the race."),
                ("Who lost the race?", "{X} lost the race."),
                ("Why did {X} lose?", "{X} {why}."),
                ("Where did they race to?", "They raced to {place}.")]},
    "sick": {
        "own": {"ill": ["a cold", "a sore throat", "a bad cough", "a fever"],
                "brought": ["hot soup", "a jar of honey", "warm tea", "sweet oranges"]},
        "parts": [
            "{day}, {Y} did not come to {place}. \"Where is {Y}?\" asked {X}. \"{Y} is in bed with {ill},\" said {P}.",
            "{X} [was sorry to hear it|felt sorry for {Y}]. {XHe} packed {brought} and {Xhis} {co} in a bag and went to the house of {Y}.",
            "{Y} [lay in bed and looked pale|was lying under three blankets]. \"I brought you {brought},\" said {X}. \"And you may keep my {o} until you are well.\" "
            "{Y} [smiled|smiled for the first time that day].",
            "After {n} days {Y} was well again. {YHe} gave the {co} back to {X}. \"[Your {o} kept me company|It was the best medicine],\" said {Y}."],
        "ask": [("Who was sick?", "{Y} was sick."),
                ("What was wrong with {Y}?", "{Y} had {ill}."),
                ("What did {X} bring?", "{X} brought {brought}."),
                ("How long was {Y} sick?", "{Y} was sick for {n} days."),
                ("What could {Y} keep until {Yhe} was well?", "{Y} could keep the {co}.")]},
}
