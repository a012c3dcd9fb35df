"""Titles of the demo catalogue: they tell an item's topic, in English and in Chinese, and nothing else.

A title has at most ten words and no digits. Its words come from small vocabularies, so that each stands in
many titles; the filling words are the same for every topic.
"""

from random import Random

TOPICS_EN = (
    "noodles dumplings broth pepper bread kitchen supper",
    "harbour island ferry beach lighthouse coast tide",
    "roses seedlings compost garden tomatoes orchard soil",
    "guitar melody piano concert drums ballad singer",
    "marathon sprint trainer stadium medal cycling finish",
    "planets telescope comet galaxy eclipse rocket orbit",
    "kitten puppy whiskers aquarium parrot paws hamster",
    "canvas watercolour sketch portrait gallery brushes sculpture",
    "yarn knitting scarf embroidery needle wool quilt",
    "engine highway wheels mechanic gearbox rally garage",
    "chess puzzle gambit dice cards riddle checkmate",
    "timber carving chisel cabin varnish joinery sawdust",
)
TOPICS_ZH = (
    "面条 饺子 厨房 菜谱 烤箱 晚餐 美食",
    "海岛 渡轮 沙滩 灯塔 航行 海岸 潮水",
    "玫瑰 花园 播种 番茄 温室 果园 土壤",
    "吉他 旋律 钢琴 演唱 鼓点 歌手 音乐",
    "跑步 教练 奖牌 冲刺 骑行 拉伸 体育",
    "行星 望远 彗星 银河 月食 火箭 星空",
    "小猫 小狗 鹦鹉 仓鼠 水族 爪印 萌宠",
    "油画 水彩 素描 肖像 画廊 雕塑 颜料",
    "毛线 编织 围巾 刺绣 针法 纽扣 手工",
    "引擎 公路 车轮 赛车 变速 车库 试驾",
    "象棋 谜题 桌游 骰子 策略 纸牌 对弈",
    "木工 雕刻 工坊 凿子 小屋 清漆 榫卯",
)
PATTERNS_EN = (
    "a {n} day of {a} and {b}",
    "{n} {a} with {b} and {c}",
    "my {n} {a} and {b} story",
    "from {a} to {b} in one {m}",
    "how {a} and {b} changed this {n} {m}",
    "{a} and {b} for a {n} {m}",
    "the {n} truth about {a} {b} and {c}",
    "{a} {b} {c} and a {n} {m}",
)
NEUTRAL_EN = "quiet perfect simple secret little sunny golden slow curious bright".split()
MOMENTS_EN = "morning weekend evening lesson season afternoon diary journey".split()
PATTERNS_ZH = ("{n}的{a}和{b}", "{a}{b}的{m}", "我的{a}{b}{m}", "{n}{a}与{b}", "{a}{b}和{c}", "一起看{a}{b}")
NEUTRAL_ZH = "安静 简单 真实 有趣 慢慢 意外 温暖 神奇".split()
MOMENTS_ZH = "日记 时光 周末 故事 一课 清晨".split()


def title_en(topic: int, place: int, rng: Random) -> str:
    """An English title.

    Args:
        topic: Index into ``TOPICS_EN``.
        place: Number of the item within its topic; the first two words follow from it, so that of a dozen
            titles none has a word of the topic for itself.
        rng: Draws the rest.
    """
    return _title(TOPICS_EN[topic].split(), PATTERNS_EN, NEUTRAL_EN, MOMENTS_EN, place, rng)


def title_zh(topic: int, place: int, rng: Random) -> str:
    """A Chinese title, at most ten characters, without spaces; arguments as for ``title_en``."""
    return _title(TOPICS_ZH[topic].split(), PATTERNS_ZH, NEUTRAL_ZH, MOMENTS_ZH, place, rng)


def _title(
    words: list[str],
    patterns: tuple[str, ...],
    neutral: list[str],
    moments: list[str],
    place: int,
    rng: Random,
) -> str:
    turns, first = divmod(place, len(words))
    second = (first + 1 + turns % (len(words) - 1)) % len(words)
    third = rng.choice([word for row, word in enumerate(words) if row not in (first, second)])
    pattern, filler, moment = rng.choice(patterns), rng.choice(neutral), rng.choice(moments)
    return pattern.format(a=words[first], b=words[second], c=third, n=filler, m=moment)
