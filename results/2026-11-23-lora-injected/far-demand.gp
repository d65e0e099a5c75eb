# Redraws far-demand.svg and far-demand.pdf from far-demand.dat: gnuplot far-demand.gp
set encoding utf8
set datafile missing 'NaN'
set border 3 linecolor rgb '#666666'
set tics nomirror out textcolor rgb '#222222'
set grid ytics linecolor rgb '#dddddd' linetype 1 linewidth 0.6
do for [format in "svg pdf"] {
if (format eq "svg") {
set terminal svg size 1240,520 dynamic noenhanced font 'Helvetica,14' background '#ffffff'
set output 'far-demand.svg'
} else {
set terminal pdfcairo size 32.74cm,13.73cm noenhanced font 'Helvetica,10.5'
set output 'far-demand.pdf'
}
set label 1 'Far demand' at screen 0.015,0.9538 left font ',17'
set label 2 'evidence: injected-delay (far = 2.0× local latency, 0.5× local read bandwidth), k assumed for up to 100 % of far bytes' at screen 0.015,0.9077 left font ',13' textcolor rgb '#444444'
set label 3 'bytes per measured step, median over blocks' at screen 0.015,0.8673 left font ',13' textcolor rgb '#444444'
set multiplot layout 1,3 margins 0.07,0.79,0.15,0.7731 spacing 0.055
set xrange [0:102]
set xtics 20
set yrange [0:*]
set xlabel 'near capacity (% of peak live)'
unset key
set title 'visited in far memory' font ',13' offset 0,-0.4
set ylabel 'MiB per step'
plot 789.628 with lines linecolor rgb '#555555' dashtype (6,4) title 'all-far', \
  'far-demand.dat' index 0 using 1:2 with linespoints linecolor rgb '#CC79A7' dashtype 1 linewidth 2 pointtype 11 pointsize 0.7 title 'lru', \
  'far-demand.dat' index 1 using 1:2 with linespoints linecolor rgb '#E69F00' dashtype 1 linewidth 2 pointtype 13 pointsize 0.7 title 'near-first', \
  'far-demand.dat' index 2 using 1:2 with linespoints linecolor rgb '#D55E00' dashtype 1 linewidth 2 pointtype 5 pointsize 0.7 title 'interleave', \
  'far-demand.dat' index 3 using 1:2 with linespoints linecolor rgb '#0072B2' dashtype 1 linewidth 2 pointtype 7 pointsize 0.7 title 'class', \
  'far-demand.dat' index 4 using 1:2 with linespoints linecolor rgb '#009E73' dashtype 1 linewidth 2 pointtype 9 pointsize 0.7 title 'lifetime-density'
set title 'charged, past the LLC filter' font ',13' offset 0,-0.4
unset ylabel
unset label 1
unset label 2
unset label 3
plot 681.104 with lines linecolor rgb '#555555' dashtype (6,4) title 'all-far', \
  'far-demand.dat' index 0 using 1:3 with linespoints linecolor rgb '#CC79A7' dashtype 1 linewidth 2 pointtype 11 pointsize 0.7 title 'lru', \
  'far-demand.dat' index 1 using 1:3 with linespoints linecolor rgb '#E69F00' dashtype 1 linewidth 2 pointtype 13 pointsize 0.7 title 'near-first', \
  'far-demand.dat' index 2 using 1:3 with linespoints linecolor rgb '#D55E00' dashtype 1 linewidth 2 pointtype 5 pointsize 0.7 title 'interleave', \
  'far-demand.dat' index 3 using 1:3 with linespoints linecolor rgb '#0072B2' dashtype 1 linewidth 2 pointtype 7 pointsize 0.7 title 'class', \
  'far-demand.dat' index 4 using 1:3 with linespoints linecolor rgb '#009E73' dashtype 1 linewidth 2 pointtype 9 pointsize 0.7 title 'lifetime-density'
set title 'migrated' font ',13' offset 0,-0.4
set key at screen 0.8,0.7846 left top Left reverse samplen 2 spacing 1.25 font ',12'
plot 0 with lines linecolor rgb '#555555' dashtype (6,4) title 'all-far', \
  'far-demand.dat' index 0 using 1:4 with linespoints linecolor rgb '#CC79A7' dashtype 1 linewidth 2 pointtype 11 pointsize 0.7 title 'lru', \
  'far-demand.dat' index 1 using 1:4 with linespoints linecolor rgb '#E69F00' dashtype 1 linewidth 2 pointtype 13 pointsize 0.7 title 'near-first', \
  'far-demand.dat' index 2 using 1:4 with linespoints linecolor rgb '#D55E00' dashtype 1 linewidth 2 pointtype 5 pointsize 0.7 title 'interleave', \
  'far-demand.dat' index 3 using 1:4 with linespoints linecolor rgb '#0072B2' dashtype 1 linewidth 2 pointtype 7 pointsize 0.7 title 'class', \
  'far-demand.dat' index 4 using 1:4 with linespoints linecolor rgb '#009E73' dashtype 1 linewidth 2 pointtype 9 pointsize 0.7 title 'lifetime-density'
unset multiplot
}
unset output
