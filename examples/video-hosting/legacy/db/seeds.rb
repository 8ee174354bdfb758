# frozen_string_literal: true

# What has gathered over the years: 40 users, 120 videos, 600 charges over four months, the same each time.
random = Random.new(7)
ActiveRecord::Base.transaction do
  %w[2026-08 2026-09].each { |period| Period.find_or_create_by!(period: period).update!(closed: true) }
  %w[2026-10 2026-11].each { |period| Period.find_or_create_by!(period: period) }
  users = Array.new(40) do |number|
    User.create!(name: "#{%w[Ada Bjørn Çelik Đorđe 愛子 Ωmega][number % 6]} #{number}", company: number.even? ? "Company #{number}" : nil)
  end
  videos = Array.new(120) { |number| users[random.rand(40)].videos.create!(title: "Video #{number}") }
  now = Time.now.utc
  Charge.insert_all!(Array.new(600) do |number|
    video = videos[random.rand(120)]
    { user_id: video.user_id, video_id: video.id, period: "2026-#{%w[08 09 10 11][number % 4]}", created_at: now,
      currency: %w[EUR USD JPY BHD][random.rand(4)], amount_minor: [0, 1, 999, 12_345, 2**40][random.rand(5)] }
  end)
  videos.each { |video| Video.reset_counters(video.id, :charges) }
end
