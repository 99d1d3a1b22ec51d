"""What tools/gpu measures: models, sizes, and the keys under which results are kept."""
import os
from collections import namedtuple

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
DEMO = os.path.join(ROOT, "models", "demo.gguf")
LIBRARIES = os.path.join(ROOT, "lib")  # of a bundle
BUNDLED = os.path.isdir(LIBRARIES)


class Model(namedtuple("Model", "shape type bytes seconds")):
    """bytes: on the disk, about; seconds: that one of its steps may take."""
    @property
    def name(self):
        return f"{self.shape}/{self.type}"


class Test(namedtuple("Test", "n_prompt n_gen n_depth")):
    """One row of `redline bench`."""
    @property
    def name(self):
        return f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}@{self.n_depth}"

    @property
    def options(self):
        return ["-p", str(self.n_prompt), "-n", str(self.n_gen), "-d", str(self.n_depth)]


# models: in the order in which they are measured; pair: tokens of the prompt and tokens generated where layers move
Plan = namedtuple("Plan", "models tests pair shares scaling caps cap_sizes")

LLAMA_Q4 = Model("llama3-8b", "Q4_K_M", 4.9e9, 60)
LLAMA_Q8 = Model("llama3-8b", "Q8_0", 8.6e9, 60)
GPT_OSS = Model("gpt-oss-20b", "MXFP4", 12.1e9, 75)
STORIES = Model("stories15m", "Q8_0", 0.03e9, 60)

FULL = Plan(models=[LLAMA_Q4, GPT_OSS, LLAMA_Q8, Model("llama3-8b", "F16", 16.1e9, 75),
                    Model("tinyllama-1.1b", "Q4_K_M", 0.7e9, 40), Model("tinyllama-1.1b", "Q8_0", 1.2e9, 40),
                    Model("tinyllama-1.1b", "F16", 2.2e9, 40)],
            tests=[Test(512, 0, 0), Test(2048, 0, 0), Test(0, 64, 0), Test(0, 64, 4096), Test(0, 64, 16384)],
            pair=(512, 32), shares=[0, 25, 50, 75, 100], scaling=LLAMA_Q4, caps=[LLAMA_Q8, LLAMA_Q4, GPT_OSS],
            cap_sizes=["12G", "8G"])
TINY = Plan(models=[STORIES], tests=[Test(16, 0, 0), Test(0, 4, 0)], pair=(16, 2), shares=[0, 50, 100], scaling=STORIES,
            caps=[STORIES], cap_sizes=["8G"])
