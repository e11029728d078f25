"""Papers of the methods, as BibTeX. What an entry says was checked against lists of references of other papers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A paper.

    Attributes:
        authors: Authors as BibTeX has them.
        title: Title.
        year: Year of the first version at arXiv, else of the conference.
        conference: Name of the conference, of a paper that is not at arXiv.
        url: Address of such a paper.
    """

    authors: str
    title: str
    year: int
    conference: str = ""
    url: str = ""


REFERENCES = {  # by number at arXiv
    "1506.02626": Reference(
        "Han, Song and Pool, Jeff and Tran, John and Dally, William J.",
        "Learning both Weights and Connections for Efficient Neural Networks", 2015,
    ),
    "1906.10771": Reference(
        "Molchanov, Pavlo and Mallya, Arun and Tyree, Stephen and Frosio, Iuri and Kautz, Jan",
        "Importance Estimation for Neural Network Pruning", 2019,
    ),
    "2004.14340": Reference(
        "Singh, Sidak Pal and Alistarh, Dan",
        "WoodFisher: Efficient Second-Order Approximation for Neural Network Compression", 2020,
    ),
    "2006.05467": Reference(
        "Tanaka, Hidenori and Kunin, Daniel and Yamins, Daniel L. K. and Ganguli, Surya",
        "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020,
    ),
    "2107.03356": Reference(
        "Frantar, Elias and Kurtic, Eldar and Alistarh, Dan",
        "M-FAC: Efficient Matrix-Free Approximations of Second-Order Information", 2021,
    ),
    "2202.02643": Reference(
        "Liu, Shiwei and Chen, Tianlong and Chen, Xiaohan and Shen, Li and Mocanu, Decebal Constantin and "
        "Wang, Zhangyang and Pechenizkiy, Mykola",
        "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training", 2022,
    ),
    "2203.07259": Reference(
        "Kurtic, Eldar and Campos, Daniel and Nguyen, Tuan and Frantar, Elias and Kurtz, Mark and Fineran, Benjamin "
        "and Goin, Michael and Alistarh, Dan",
        "The Optimal BERT Surgeon: Scalable and Accurate Second-Order Pruning for Large Language Models", 2022,
    ),
    "2208.11580": Reference(
        "Frantar, Elias and Singh, Sidak Pal and Alistarh, Dan",
        "Optimal Brain Compression: A Framework for Accurate Post-Training Quantization and Pruning", 2022,
    ),
    "2210.09223": Reference(
        "Kuznedelev, Denis and Kurtic, Eldar and Frantar, Elias and Alistarh, Dan",
        "CAP: Correlation-Aware Pruning for Highly-Accurate Sparse Vision Models", 2022,
    ),
    "2301.00774": Reference(
        "Frantar, Elias and Alistarh, Dan",
        "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", 2023,
    ),
    "2302.14623": Reference(
        "Benbaki, Riade and Chen, Wenyu and Meng, Xiang and Hazimeh, Hussein and Ponomareva, Natalia and Zhao, Zhe and "
        "Mazumder, Rahul",
        "Fast as CHITA: Neural Network Pruning with Combinatorial Optimization", 2023,
    ),
    "2306.11695": Reference(
        "Sun, Mingjie and Liu, Zhuang and Bair, Anna and Kolter, J. Zico",
        "A Simple and Effective Pruning Approach for Large Language Models", 2023,
    ),
    "2310.08915": Reference(
        "Zhang, Yuxin and Zhao, Lirui and Lin, Mingbao and Sun, Yunyun and Yao, Yiwu and Han, Xingjia and "
        "Tanner, Jared and Liu, Shiwei and Ji, Rongrong",
        "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs", 2023,
    ),
    "2406.07831": Reference(
        "Meng, Xiang and Behdin, Kayhan and Wang, Haoyue and Mazumder, Rahul",
        "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models", 2024,
    ),
    "2411.18376": Reference(
        "Lucas, Ryan and Mazumder, Rahul",
        "Preserving Deep Representations In One-Shot Pruning: A Hessian-Free Second-Order Optimization Framework", 2024,
    ),
    "2501.18980": Reference("Yi, Kai and Richt{\\'a}rik, Peter", "Symmetric Pruning of Large Language Models", 2025),
}  # fmt: skip

FIRST_DESCRIBED = {  # where a method was first described, by the number of the paper that restates it
    "2501.18980": Reference(
        "Zhang, Yingtao and Bai, Haoli and Lin, Haokun and Zhao, Jialin and Hou, Lu and "
        "Cannistraci, Carlo Vittorio",
        "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models", 2024,
        "The Twelfth International Conference on Learning Representations",
        "https://openreview.net/forum?id=Tr0lPx9woF",
    ),
}  # fmt: skip


def bibtex(number: str) -> str:
    """Returns the entries of what is cited for a paper at arXiv; for an unknown one a comment with its number."""
    found = REFERENCES.get(number)
    if found is None:
        return f"% arXiv {number}\n"
    first = FIRST_DESCRIBED.get(number)
    whole = _entry("misc", found, number.replace(".", ""), {"eprint": number, "archivePrefix": "arXiv"})
    if first is None:
        return whole
    return _entry("inproceedings", first, "", {"booktitle": first.conference, "url": first.url}) + "\n" + whole


def _entry(kind: str, paper: Reference, number: str, place: dict[str, str]) -> str:
    """Returns one entry, whose key has the first author, the year and the number at arXiv."""
    key = f"{paper.authors.split(',')[0].lower()}{paper.year}{'arxiv' if number else ''}{number}"
    fields = {"author": paper.authors, "title": f"{{{paper.title}}}", "year": str(paper.year), **place}
    return f"@{kind}{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items()) + "}\n"
